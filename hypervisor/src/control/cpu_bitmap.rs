//! Sets of pCPUs in the format of the tools: a byte array and the number of valid bits.

use abi::xen::CpuBitmap;
use machine::addr::{CpuSet, GuestVirt};
use machine::guest_memory::Fault;
use machine::speculation::MaskedIndex;

use crate::call::Caller;

/// Bytes that cover all possible pCPUs.
const BYTES: usize = size_of::<u64>();

/// Length of the array in the caller's memory, limited to the bytes that Paravane has pCPUs for.
fn length(bitmap: &CpuBitmap) -> usize {
    usize::try_from(bitmap.bit_count.div_ceil(8)).unwrap_or(BYTES).min(BYTES)
}

/// Mask of the bits that are not valid.
fn beyond(bitmap: &CpuBitmap) -> u64 {
    u64::MAX.checked_shl(bitmap.bit_count).unwrap_or(0)
}

/// Reads a set. Bits that are not valid, or are beyond the last possible pCPU, are ignored.
///
/// # Errors
/// If the array cannot be read.
pub(crate) fn read(caller: &Caller<'_>, bitmap: &CpuBitmap) -> Result<CpuSet, Fault> {
    let mut bytes = [0; BYTES];
    let length = length(bitmap);
    caller.cpu.read_bytes(GuestVirt::new(bitmap.bitmap), bytes.part_mut(..length).ok_or(Fault)?)?;
    Ok(CpuSet::from_bits(u64::from_le_bytes(bytes) & !beyond(bitmap)))
}

/// Writes the part of a set for which the array has room.
///
/// # Errors
/// If the array cannot be written.
pub(crate) fn write(caller: &mut Caller<'_>, bitmap: &CpuBitmap, set: CpuSet) -> Result<(), Fault> {
    let length = length(bitmap);
    let bytes = (set.bits() & !beyond(bitmap)).to_le_bytes();
    caller.cpu.write_bytes(GuestVirt::new(bitmap.bitmap), bytes.part(..length).ok_or(Fault)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn bits_beyond_the_last_valid_one_are_ignored() {
        let mut guest = Guest::new(1, 2);
        let place = guest.put(&[0xffu8; 16]).get();
        for (bit_count, expected) in [(0, 0), (3, 7), (8, 0xff), (13, 0x1fff), (64, u64::MAX), (u32::MAX, u64::MAX)] {
            let bitmap = CpuBitmap { bitmap: place, bit_count, _pad: 0 };
            assert_eq!(read(&guest.caller(), &bitmap).map(CpuSet::bits), Ok(expected), "{bit_count} bits");
        }
    }

    #[test]
    fn a_write_is_limited_to_the_array() {
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
