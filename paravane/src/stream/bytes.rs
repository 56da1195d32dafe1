//! Little-endian numbers at the front of a slice.

use super::Malformed;

/// Takes `length` bytes off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (front, rest) = bytes.split_at_checked(length).ok_or_else(|| Malformed("it ends in a record".into()))?;
    *bytes = rest;
    Ok(front)
}

/// Takes a number off the front.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    let (front, rest) = bytes.split_first_chunk().ok_or_else(|| Malformed("it ends in a number".into()))?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*front))
}

/// The numbers of a slice that has a whole number of them.
pub(super) fn numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number))
}
