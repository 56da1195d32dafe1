//! Random files: whatever the bytes are, the result is an update of the file or an error.
#![cfg(not(miri))]

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{EPYC, HASWELL, updates};
use crate::samples::{Sample, archive};
use crate::{Error, Maker, Processor, Rule, early_cpio, newest};

/// An update for the processor, or for one of another stepping.
fn update(processor: Processor) -> impl Strategy<Value = (u32, bool, Vec<u8>)> {
    (0u32..20, any::<bool>()).prop_map(move |(revision, own)| {
        let signature = processor.signature + u32::from(!own);
        (revision, own, updates(&Processor { signature, ..processor }, &[revision]))
    })
}

fn processor() -> impl Strategy<Value = Processor> {
    prop_oneof![Just(HASWELL), Just(EPYC)]
}

proptest! {
    #[test]
    fn the_choice_is_that_of_a_naive_search((processor, updates) in
        processor().prop_flat_map(|processor| (Just(processor), vec(update(processor), 1..8))))
    {
        let file = updates.iter().flat_map(|(_, _, bytes)| bytes.clone()).collect::<Vec<u8>>();
        let best = updates.iter().filter(|(_, own, _)| *own).map(|(revision, ..)| *revision).max();
        let expected = match best {
            None => Err(Error::OtherProcessor),
            Some(offered) if offered <= 5 => Err(Error::NotNewer { offered, current: 5 }),
            Some(revision) => Ok(revision),
        };
        let found = newest(&file, &processor, Rule::default(), || ());
        prop_assert_eq!(found.map(|update| update.revision), expected);
    }

    #[test]
    fn a_changed_bit_of_intels_never_yields_another_update(at in 0usize..1024, bit in 0u32..8) {
        let mut file = Sample::new(&HASWELL, 9).file(Maker::Intel);
        file[at] ^= 1 << bit;
        prop_assert!(newest(&file, &HASWELL, Rule::default(), || ()).is_err_and(|error| error.is_damage()));
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300), processor in processor(), start in 0usize..3) {
        let head = [&b""[..], b"\x01\0\0\0", b"DMA\0\0\0\0\0"][start];
        let file = [head, &bytes].concat();
        let found = newest(&file, &processor, Rule { same: true, late: true }, || ());
        if let Ok(update) = found {
            prop_assert!(file.as_ptr_range().contains(&update.image.as_ptr()));
        }
    }

    #[test]
    fn any_change_of_an_archive_is_survived(at in 0usize..700, value: u8, contents in vec(any::<u8>(), 0..100)) {
        let mut archive = archive(Maker::Amd, &contents);
        prop_assert_eq!(early_cpio::find(&archive, Maker::Amd.path()), Ok(Some(contents.as_slice())));
        if let Some(byte) = archive.get_mut(at) {
            *byte = value;
        }
        let _ = early_cpio::find(&archive, Maker::Amd.path());
    }
}
