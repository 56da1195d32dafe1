//! Conversions between integer types that the standard library does not have: truncations by name,
//! and conversions that are total on this architecture only. Little-endian numbers in bytes.

use crate::speculation::MaskedIndex;

/// The low 8 bits.
pub const fn low_u8(value: u64) -> u8 {
    (value & 0xff) as u8
}

/// The low 16 bits.
pub const fn low_u16(value: u64) -> u16 {
    (value & 0xffff) as u16
}

/// The low 32 bits.
pub const fn low_u32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The low 64 bits.
pub const fn low_u64(value: u128) -> u64 {
    (value & 0xffff_ffff_ffff_ffff) as u64
}

/// A size or a number of elements as 32 bits; `u32::MAX` if it is larger.
pub const fn saturating_u32(value: usize) -> u32 {
    if value > u32::MAX as usize { u32::MAX } else { low_u32(value as u64) }
}

/// The same number as an index or a length.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits")]
pub const fn to_usize(value: u64) -> usize {
    const { assert!(usize::BITS == 64) };
    value as usize
}

/// The 16-bit number at an offset; `None` if the bytes do not reach that far.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.part(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

/// The 32-bit number at an offset; `None` if the bytes do not reach that far.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.part(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The 64-bit number at an offset; `None` if the bytes do not reach that far.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.part(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_little_endian_and_end_with_the_bytes() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!((u16_at(&bytes, 7), u16_at(&bytes, 8)), (Some(0x0908), None));
        assert_eq!((u32_at(&bytes, 5), u32_at(&bytes, 6)), (Some(0x0908_0706), None));
        assert_eq!((u64_at(&bytes, 1), u64_at(&bytes, 2)), (Some(0x0908_0706_0504_0302), None));
        assert_eq!((u16_at(&bytes, 10), u32_at(&bytes, usize::MAX)), (None, None));
    }

    #[test]
    fn a_truncation_keeps_the_low_bits() {
        let value = 0xfedc_ba98_7654_3210;
        assert_eq!((low_u8(value), low_u16(value), low_u32(value)), (0x10, 0x3210, 0x7654_3210));
        assert_eq!(low_u64(0x1_fedc_ba98_7654_3210), value);
        assert_eq!(to_usize(value) as u64, value);
    }

    #[test]
    fn a_number_beyond_32_bits_saturates() {
        let largest = u32::MAX as usize;
        assert_eq!([0, 7, largest, largest + 1, usize::MAX].map(saturating_u32), [0, 7, u32::MAX, u32::MAX, u32::MAX]);
    }
}
