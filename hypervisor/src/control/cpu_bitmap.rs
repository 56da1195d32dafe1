//! Sets of pCPUs as the tools have them: bytes of their own and how many bits count.

use abi::xen::CpuBitmap;
use machine::addr::{CpuSet, GuestVirt};
use machine::guest_memory::Fault;

use crate::call::Caller;

/// Bytes of all pCPUs that there can be.
const BYTES: usize = size_of::<u64>();

/// The bytes of the set that are in the caller's memory, and those of them that Paravane has pCPUs for.
fn length(bitmap: &CpuBitmap) -> usize {
    usize::try_from(bitmap.bit_count.div_ceil(8)).unwrap_or(BYTES).min(BYTES)
}

/// The bits that do not count.
fn beyond(bitmap: &CpuBitmap) -> u64 {
    u64::MAX.checked_shl(bitmap.bit_count).unwrap_or(0)
}

/// Reads a set. What lies beyond its last bit, or beyond the last pCPU that there can be, does not count.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read(caller: &Caller<'_>, bitmap: &CpuBitmap) -> Result<CpuSet, Fault> {
    let mut bytes = [0; BYTES];
    let length = length(bitmap);
    caller.cpu.read_bytes(GuestVirt::new(bitmap.bitmap), bytes.get_mut(..length).ok_or(Fault)?)?;
    Ok(CpuSet::from_bits(u64::from_le_bytes(bytes) & !beyond(bitmap)))
}

/// Writes a set, as much of it as there is room for.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(caller: &mut Caller<'_>, bitmap: &CpuBitmap, set: CpuSet) -> Result<(), Fault> {
    let length = length(bitmap);
    let bytes = (set.bits() & !beyond(bitmap)).to_le_bytes();
    caller.cpu.write_bytes(GuestVirt::new(bitmap.bitmap), bytes.get(..length).ok_or(Fault)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn bits_that_do_not_count_are_left_out() {
        let mut guest = Guest::new(1, 2);
        let place = guest.put(&[0xffu8; 16]).get();
        for (bit_count, expected) in [(0, 0), (3, 7), (8, 0xff), (13, 0x1fff), (64, u64::MAX), (u32::MAX, u64::MAX)] {
            let bitmap = CpuBitmap { bitmap: place, bit_count, _pad: 0 };
            assert_eq!(read(&guest.caller(), &bitmap).map(CpuSet::bits), Ok(expected), "{bit_count} bits");
        }
    }

    #[test]
    fn no_more_is_written_than_there_is_room_for() {
        let mut guest = Guest::new(1, 2);
        let place = guest.put(&[0xffu8; 16]);
        let bitmap = CpuBitmap { bitmap: place.get(), bit_count: 9, _pad: 0 };
        assert!(write(&mut guest.caller(), &bitmap, CpuSet::from_bits(0x1_0303)).is_ok());
        assert_eq!(guest.read::<[u8; 4]>(place), [3, 1, 0xff, 0xff]);
        let bitmap = CpuBitmap { bitmap: place.get(), bit_count: u32::MAX, _pad: 0 };
        assert!(write(&mut guest.caller(), &bitmap, CpuSet::EMPTY).is_ok());
        assert_eq!(guest.read::<[u8; 9]>(place), [0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
        let nowhere = CpuBitmap { bitmap: 0, bit_count: 1, _pad: 0 };
        assert!(read(&guest.caller(), &nowhere).is_err());
    }
}
