//! Files that the tests build: whole, damaged, for other processors.

mod amd;
mod archives;
mod intel;
mod properties;

use std::vec::Vec;

use crate::samples::Sample;
use crate::{Error, Maker, Processor, Rule, newest};

/// The processor that QEMU calls Haswell, at revision 5.
const HASWELL: Processor = Processor { maker: Maker::Intel, signature: 0x306c4, platform: 1 << 1, revision: 5 };
/// The processor that QEMU calls EPYC, at revision 5.
const EPYC: Processor = Processor { maker: Maker::Amd, signature: 0x80_0f12, platform: 0, revision: 5 };

/// The revision of the newest acceptable update of a file.
fn revision(file: &[u8], processor: &Processor) -> Result<u32, Error> {
    newest(file, processor, Rule::default(), || ()).map(|update| update.revision)
}

/// Updates of these revisions, one after another.
fn updates(processor: &Processor, revisions: &[u32]) -> Vec<u8> {
    revisions.iter().flat_map(|&revision| Sample::new(processor, revision).file(processor.maker)).collect()
}

#[test]
fn the_newest_update_is_chosen_wherever_it_is() {
    for processor in [HASWELL, EPYC] {
        for revisions in [[6, 9, 7], [9, 7, 6], [6, 7, 9]] {
            assert_eq!(revision(&updates(&processor, &revisions), &processor), Ok(9));
        }
    }
}

#[test]
fn an_update_that_is_not_newer_is_refused_unless_the_same_is_acceptable() {
    for processor in [HASWELL, EPYC] {
        for offered in [4, 5] {
            let file = updates(&processor, &[offered]);
            assert_eq!(revision(&file, &processor), Err(Error::NotNewer { offered, current: 5 }));
            let same = newest(&file, &processor, Rule { same: true, late: false }, || ());
            assert_eq!(same.is_ok(), offered == 5);
        }
    }
}

#[test]
fn a_file_of_the_other_maker_or_of_none_is_unknown() {
    for (processor, other) in [(HASWELL, EPYC), (EPYC, HASWELL)] {
        assert_eq!(revision(&updates(&other, &[9]), &processor), Err(Error::Unknown));
        for bytes in [&b""[..], b"\x01", b"\x7fELF", &[0; 100]] {
            assert_eq!(revision(bytes, &processor), Err(Error::Unknown), "{bytes:?}");
        }
    }
}

#[test]
fn a_file_without_an_update_for_the_processor_is_sound_but_refused() {
    for processor in [HASWELL, EPYC] {
        let other = Processor { signature: processor.signature + 0x10, ..processor };
        let file = updates(&other, &[9, 10]);
        assert_eq!(revision(&file, &processor), Err(Error::OtherProcessor));
        assert!(!Error::OtherProcessor.is_damage());
        let both = [file, updates(&processor, &[7])].concat();
        assert_eq!(revision(&both, &processor), Ok(7));
    }
}

#[test]
fn damage_behind_a_sound_update_refuses_the_file() {
    for processor in [HASWELL, EPYC] {
        let mut file = updates(&processor, &[6, 7]);
        file.truncate(file.len() - 1);
        assert_eq!(revision(&file, &processor), Err(Error::Truncated("an update")));
        file.truncate(file.len() / 2 + 8);
        assert!(revision(&file, &processor).is_err_and(|error| error.is_damage()));
    }
}

#[test]
fn the_caller_gets_a_turn_after_each_update() {
    for processor in [HASWELL, EPYC] {
        let mut turns = 0;
        let file = updates(&processor, &[6, 7, 8]);
        assert!(newest(&file, &processor, Rule::default(), || turns += 1).is_ok());
        assert_eq!(turns, 3);
    }
}

#[test]
fn an_update_has_its_date_and_the_bytes_for_the_processor() {
    for processor in [HASWELL, EPYC] {
        let file = updates(&processor, &[6]);
        let update = newest(&file, &processor, Rule::default(), || ()).expect("newer");
        assert_eq!(std::format!("{}", update.date), "1998-07-18");
        let behind = match processor.maker {
            Maker::Intel => &file[48..],
            Maker::Amd => &file[file.len() - 512..],
        };
        assert_eq!(update.image, behind);
    }
}
