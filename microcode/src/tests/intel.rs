//! Headers, checksums and tables of further processors.

use super::{HASWELL, revision, updates};
use crate::samples::{Sample, set_sum};
use crate::{Error, Maker, Processor, Rule, newest};

const UPDATE: Error = Error::Malformed("an update");

/// An update whose number at `at` is changed, with a right checksum.
fn with(at: usize, value: u32) -> std::vec::Vec<u8> {
    let mut file = updates(&HASWELL, &[9]);
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    set_sum(&mut file, 16);
    file
}

#[test]
fn a_changed_byte_breaks_the_checksum() {
    let file = updates(&HASWELL, &[9]);
    for at in (4..file.len()).filter(|at| !(20..36).contains(at)) {
        let mut file = file.clone();
        file[at] ^= 0x10;
        assert_eq!(revision(&file, &HASWELL), Err(Error::Checksum("an update")), "byte {at}");
    }
}

#[test]
fn versions_and_sizes_are_checked() {
    assert_eq!(revision(&with(0, 2), &HASWELL), Err(Error::Unknown), "header version");
    assert_eq!(revision(&[updates(&HASWELL, &[9]), with(0, 2)].concat(), &HASWELL), Err(UPDATE));
    assert_eq!(revision(&with(20, 2), &HASWELL), Err(UPDATE), "loader revision");
    for data in [977, 980, 1 << 20, u32::MAX, u32::MAX - 3] {
        assert_eq!(revision(&with(28, data), &HASWELL), Err(UPDATE), "{data} bytes of data");
    }
    for total in [0, 1, 1023, 1028, u32::MAX] {
        assert_eq!(revision(&with(32, total), &HASWELL), Err(UPDATE), "{total} bytes in total");
    }
    for total in [2048, 0xffff_fc00] {
        assert_eq!(revision(&with(32, total), &HASWELL), Err(Error::Truncated("an update")));
    }
}

#[test]
fn an_update_without_sizes_has_the_usual_ones() {
    let mut file = Sample { size: 2000, ..Sample::new(&HASWELL, 9) }.file(Maker::Intel);
    file[28..36].fill(0);
    set_sum(&mut file, 16);
    assert_eq!(file.len(), 2048);
    assert_eq!(revision(&file, &HASWELL), Ok(9));
}

#[test]
fn signature_and_platform_have_to_match() {
    for (platforms, fits) in [(0xff, true), (2, true), (0xfd, false), (0, false)] {
        let sample = Sample { processors: [(HASWELL.signature, platforms)].into(), ..Sample::new(&HASWELL, 9) };
        assert_eq!(revision(&sample.file(Maker::Intel), &HASWELL).is_ok(), fits, "{platforms:#x}");
    }
}

fn listed() -> std::vec::Vec<u8> {
    let processors = [(0x306c3, 0x32), (0x306c1, 0x32), (HASWELL.signature, 0x32)];
    Sample { processors: processors.into(), ..Sample::new(&HASWELL, 9) }.file(Maker::Intel)
}

#[test]
fn further_processors_are_found_in_the_table() {
    let file = listed();
    assert_eq!(file.len(), 1024);
    assert_eq!(revision(&file, &HASWELL), Ok(9));
    for (signature, platform, fits) in
        [(0x306c3, 2, true), (0x306c1, 0x20, true), (0x306c1, 4, false), (0x306c2, 2, false)]
    {
        let processor = Processor { signature, platform, ..HASWELL };
        assert_eq!(revision(&file, &processor).is_ok(), fits, "{signature:#x} {platform:#x}");
    }
}

#[test]
fn a_damaged_table_is_refused() {
    let file = listed();
    let table = file.len() - 20 - 2 * 12;
    let refused = |file: &[u8]| revision(file, &HASWELL).err();
    for at in table + 4..file.len() {
        let mut file = file.clone();
        file[at] ^= 1;
        assert_eq!(refused(&file), Some(Error::Checksum("a table of processors")), "byte {at}");
    }
    // A right checksum of the whole table does not make up for an entry's.
    let mut forged = file.clone();
    forged[table + 20] ^= 1;
    set_sum(&mut forged[table..], 4);
    assert_eq!(refused(&forged), Some(Error::Checksum("a table of processors")));
    for count in [0, 1, 3, 0x1555_5557, u32::MAX] {
        let mut file = file.clone();
        file[table..table + 4].copy_from_slice(&count.to_le_bytes());
        set_sum(&mut file[table..], 4);
        assert_eq!(refused(&file), Some(Error::Malformed("a table of processors")), "{count} entries");
    }
}

#[test]
fn revisions_are_signed() {
    let development = 0x8000_0001;
    assert_eq!(
        revision(&updates(&HASWELL, &[development]), &HASWELL),
        Err(Error::NotNewer { offered: development, current: 5 })
    );
    assert_eq!(revision(&updates(&HASWELL, &[development, 6]), &HASWELL), Ok(6));
    let processor = Processor { revision: development, ..HASWELL };
    assert_eq!(revision(&updates(&HASWELL, &[1]), &processor), Ok(1));
}

#[test]
fn late_loading_needs_the_minimum_and_a_processor_that_survives_it() {
    let late = |processor: &Processor, minimum| {
        let file = Sample { minimum, ..Sample::new(processor, 0x0b00_0040) }.file(Maker::Intel);
        newest(&file, processor, Rule { same: false, late: true }, || ()).map(|update| update.revision)
    };
    for minimum in [0, 4, 5] {
        assert_eq!(late(&HASWELL, minimum), Ok(0x0b00_0040));
    }
    assert_eq!(late(&HASWELL, 6), Err(Error::OnlyEarly { minimum: 6 }));
    let broadwell = Processor { signature: 0x406f1, ..HASWELL };
    assert_eq!(late(&broadwell, 0), Err(Error::OnlyEarly { minimum: 0 }));
    assert_eq!(late(&Processor { revision: 0x0b00_0021, ..broadwell }, 0), Ok(0x0b00_0040));
    let early = Sample { minimum: 6, ..Sample::new(&HASWELL, 9) }.file(Maker::Intel);
    assert_eq!(revision(&early, &HASWELL), Ok(9), "the minimum is for late loading");
}
