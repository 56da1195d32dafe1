//! Conversions between integer types that the standard library does not have: truncations by name,
//! and conversions that are total on this architecture only.

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

#[cfg(test)]
mod tests {
    use super::*;

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
