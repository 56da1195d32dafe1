//! The exception table: instructions of ring 0 that may fault, and the addresses at which execution
//! continues after the fault.
//!
//! The assembler emits pairs of offsets, each relative to its own address, in link order. Boot
//! converts them to offsets from the start of the table and sorts them once, so that a fault is
//! looked up by binary search.

#![cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only the bare machine takes traps"))]

use crate::speculation::MaskedIndex;

/// An instruction that may fault, and the address at which execution continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Entry {
    instruction: i32,
    fixup: i32,
}

/// Size of an offset in bytes.
const OFFSET: i32 = 4;

/// Converts the offsets to offsets from the start of the table, and sorts the entries by
/// instruction.
pub(crate) fn sort(table: &mut [Entry]) {
    for (place, entry) in (0..).step_by(size_of::<Entry>()).zip(table.iter_mut()) {
        entry.instruction = entry.instruction.wrapping_add(place);
        entry.fixup = entry.fixup.wrapping_add(place + OFFSET);
    }
    table.sort_unstable_by_key(|entry| entry.instruction);
}

/// The address at which execution continues after a fault at `address`, if the table has an entry
/// for it. The table must be sorted; it begins at `start`.
pub(crate) fn find(table: &[Entry], start: u64, address: u64) -> Option<u64> {
    let offset = i32::try_from(address.wrapping_sub(start).cast_signed()).ok()?;
    let index = table.binary_search_by_key(&offset, |entry| entry.instruction).ok()?;
    Some(start.wrapping_add_signed(table.masked(index)?.fixup.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const START: u64 = 0xffff_8080_0030_0000;

    /// The self-relative entries for these pairs of addresses, as emitted by the assembler.
    fn assembled(pairs: &[(u64, u64)]) -> Vec<Entry> {
        let relative = |address: u64, place: u64| i32::try_from(address.wrapping_sub(place).cast_signed()).unwrap();
        let places = (START..).step_by(size_of::<Entry>());
        let entry = |(place, &(instruction, fixup)): (u64, &(u64, u64))| Entry {
            instruction: relative(instruction, place),
            fixup: relative(fixup, place + OFFSET as u64),
        };
        places.zip(pairs).map(entry).collect()
    }

    #[test]
    fn each_instruction_is_found_whatever_the_order_in_the_image() {
        for length in 0..20u64 {
            // The code is on both sides of the table; 7 and 20 are coprime.
            let pairs: Vec<(u64, u64)> = (0..length)
                .map(|number| START - 0x5000 + number * 7 % 20 * 0x800)
                .map(|address| (address, address ^ 0x10_0000))
                .collect();
            let mut table = assembled(&pairs);
            sort(&mut table);
            for &(instruction, fixup) in &pairs {
                assert_eq!(find(&table, START, instruction), Some(fixup), "{length} entries");
                for other in [instruction - 1, instruction + 1] {
                    assert_eq!(find(&table, START, other), None);
                }
            }
        }
    }

    #[test]
    fn addresses_far_from_the_image_are_not_found() {
        let mut table = assembled(&[(START - 0x1000, START - 0x800)]);
        sort(&mut table);
        for address in [0, 1 << 40, START - 0x1000 + (1 << 32), u64::MAX] {
            assert_eq!(find(&table, START, address), None);
        }
    }
}
