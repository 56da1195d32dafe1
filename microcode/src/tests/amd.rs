//! Containers, tables of processors, and updates for them.

use std::vec::Vec;

use super::{EPYC, revision, updates};
use crate::samples::Sample;
use crate::{Error, Maker, Processor};

const TABLE: &str = "a table of processors";
/// Offsets in a container of one processor: the table's section, its contents, the update's
/// section, and its contents.
const TABLE_AT: usize = 4;
const ENTRY_AT: usize = 12;
const SECTION_AT: usize = ENTRY_AT + 2 * 16;
const UPDATE_AT: usize = SECTION_AT + 8;

fn with(at: usize, value: u32) -> Vec<u8> {
    let mut file = updates(&EPYC, &[9]);
    file[at..at + 4].copy_from_slice(&value.to_le_bytes());
    file
}

#[test]
fn sections_have_known_kinds_and_are_complete() {
    assert_eq!(revision(&with(0, 0x414d_4400), &EPYC), Err(Error::Unknown));
    assert_eq!(revision(&with(TABLE_AT, 1), &EPYC), Err(Error::Malformed(TABLE)));
    assert_eq!(revision(&with(SECTION_AT, 2), &EPYC), Err(Error::Malformed("an update")));
    for size in [513, 1 << 20, u32::MAX] {
        assert_eq!(revision(&with(SECTION_AT + 4, size), &EPYC), Err(Error::Truncated("an update")));
    }
    assert_eq!(revision(&with(SECTION_AT + 4, 63), &EPYC), Err(Error::Malformed("an update")), "no header");
    assert_eq!(revision(&with(TABLE_AT + 4, u32::MAX), &EPYC), Err(Error::Truncated(TABLE)));
    assert_eq!(revision(&with(TABLE_AT + 4, 31), &EPYC), Err(Error::Malformed(TABLE)), "no whole entries");
}

#[test]
fn every_truncation_is_noticed() {
    let file = updates(&EPYC, &[9]);
    for length in 4..file.len() {
        let found = revision(&file[..length], &EPYC);
        let whole = length == SECTION_AT;
        let right = if whole { found == Err(Error::OtherProcessor) } else { matches!(found, Err(Error::Truncated(_))) };
        assert!(right, "{length} bytes: {found:?}");
    }
}

#[test]
fn the_table_ends_with_a_signature_of_zero() {
    let mut file = updates(&EPYC, &[9]);
    let (first, second) = file[ENTRY_AT..SECTION_AT].split_at_mut(16);
    first.swap_with_slice(second);
    assert_eq!(revision(&file, &EPYC), Err(Error::OtherProcessor));
}

#[test]
fn an_update_is_for_processors_of_its_number() {
    assert_eq!(revision(&with(UPDATE_AT + 24, 0x1234), &EPYC), Err(Error::OtherProcessor));
    let several = Sample { processors: [(0x80_0f11, 0), (EPYC.signature, 0)].into(), ..Sample::new(&EPYC, 9) };
    assert_eq!(revision(&several.file(Maker::Amd), &EPYC), Ok(9));
    for chipset in [16, 20] {
        assert_eq!(revision(&with(UPDATE_AT + chipset, 1), &EPYC), Err(Error::OtherProcessor));
    }
}

#[test]
fn tables_that_contradict_each_other_are_refused() {
    let first = updates(&EPYC, &[9]);
    let second = with(ENTRY_AT + 12, 0x1234);
    assert_eq!(revision(&[first.clone(), second].concat(), &EPYC), Err(Error::Malformed(TABLE)));
    assert_eq!(revision(&[first.clone(), first].concat(), &EPYC), Ok(9));
}

#[test]
fn an_update_is_no_larger_than_its_family_allows() {
    for (signature, largest) in [
        (0x10_0f42, 2048),
        (0x50_0f20, 1824),
        (0x60_0f12, 4096),
        (0x70_0f01, 3458),
        (0x80_0f12, 3200),
        (0xa0_0f11, 5568),
        (0xb0_0f21, 64 << 10),
    ] {
        let processor = Processor { signature, ..EPYC };
        for (size, fits) in [(largest, true), (largest + 4, false)] {
            let file = Sample { size: size - 64, ..Sample::new(&processor, 9) }.file(Maker::Amd);
            let expected = if fits { Ok(9) } else { Err(Error::Malformed("an update")) };
            assert_eq!(revision(&file, &processor), expected, "{signature:#x}, {size} bytes");
        }
        // That of another family is not judged.
        let large = Sample { size: 128 << 10, ..Sample::new(&EPYC, 9) }.file(Maker::Amd);
        if signature != EPYC.signature {
            assert_eq!(revision(&large, &processor), Err(Error::OtherProcessor));
        }
    }
}

#[test]
fn a_processor_at_a_final_revision_is_left_alone() {
    let processor = Processor { signature: 0x10_0f42, revision: 0x0100_009f, ..EPYC };
    let file = updates(&processor, &[0x0100_00c8]);
    assert_eq!(revision(&file, &processor), Err(Error::Final(0x0100_009f)));
    assert_eq!(revision(&file, &Processor { revision: 0x0100_0095, ..processor }), Ok(0x0100_00c8));
}
