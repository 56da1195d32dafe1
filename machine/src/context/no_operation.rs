//! Instructions without an effect, by which boot replaces parts of the entry code that this machine
//! does not need.

use crate::integers::low_u32;

/// A three-byte no-op (Intel SDM volume 2, NOP).
const NO_OPERATION: [u8; 3] = [0x0f, 0x1f, 0x00];
/// The opcodes of jumps with a distance of one and of four bytes.
const SHORT_JUMP: u8 = 0xeb;
const NEAR_JUMP: u8 = 0xe9;
/// The one-byte breakpoint instruction, INT3.
const BREAKPOINT: u8 = 0xcc;

/// One instruction without effect that takes the place of `length` bytes, at least two: a no-op, or
/// a jump over the rest.
pub(crate) fn no_operation(length: u16) -> impl Iterator<Item = u8> {
    let (mut start, used) = ([BREAKPOINT; 5], usize::from(length));
    match length {
        3 => [start[0], start[1], start[2]] = NO_OPERATION,
        0..130 => [start[0], start[1]] = [SHORT_JUMP, length.wrapping_sub(2).to_le_bytes()[0]],
        _ => {
            let [first, second, third, fourth] = low_u32(u64::from(length) - 5).to_le_bytes();
            start = [NEAR_JUMP, first, second, third, fourth];
        }
    }
    start.into_iter().chain(core::iter::repeat(BREAKPOINT)).take(used)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn one_instruction_ends_where_the_replaced_ones_did() {
        for length in 2..1000 {
            let bytes: Vec<u8> = no_operation(length).collect();
            assert_eq!(bytes.len(), usize::from(length));
            let (size, distance) = match bytes[..] {
                [0x0f, 0x1f, 0x00, ..] => (3, 0),
                // The distance of a short jump is signed.
                [SHORT_JUMP, distance @ 0..0x80, ..] => (2, u32::from(distance)),
                [NEAR_JUMP, first, second, third, fourth, ..] => {
                    (5, u32::from_le_bytes([first, second, third, fourth]))
                }
                _ => panic!("{bytes:x?}"),
            };
            assert_eq!(size + distance as usize, usize::from(length));
            assert!(bytes[size..].iter().all(|&byte| byte == BREAKPOINT));
        }
    }
}
