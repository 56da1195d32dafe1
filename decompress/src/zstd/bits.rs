//! Bit streams. Descriptions of tables are read from the first bit to the last. Everything else was
//! written backwards and is read from the last bit to the first.

use crate::bytes::little_endian;
use crate::error::Damaged;

/// The 64 bits of `data` that begin at bit `at`; zeros after the end.
fn window(data: &[u8], at: usize) -> u64 {
    let first = at / 8;
    let word = match data.get(first..first + 8).and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => u64::from_le_bytes(bytes),
        None => little_endian(data.get(first..).unwrap_or(&[])),
    };
    word >> (at % 8)
}

const fn low(value: u64, count: u32) -> u64 {
    value & ((1 << count) - 1)
}

/// Reads from the first bit to the last.
pub(super) struct Forward<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Forward<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// The next bits, at most 32, without consuming them.
    pub(super) fn peek(&self, count: u32) -> u64 {
        low(window(self.data, self.position), count)
    }

    pub(super) const fn skip(&mut self, count: u32) {
        self.position += count as usize;
    }

    pub(super) fn take(&mut self, count: u32) -> u64 {
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// The bytes after the last one of which a bit was read.
    pub(super) fn rest(&self) -> Result<&'a [u8], Damaged> {
        self.data.get(self.position.div_ceil(8)..).ok_or(Damaged)
    }
}

/// Reads from the last bit to the first.
pub(super) struct Backward<'a> {
    data: &'a [u8],
    /// Remaining bits; negative if more were read than there are.
    left: isize,
}

impl<'a> Backward<'a> {
    /// The stream ends with its highest set bit, which is not part of it.
    pub(super) fn new(data: &'a [u8]) -> Result<Self, Damaged> {
        let last = *data.last().filter(|&&last| last != 0).ok_or(Damaged)?;
        let unused = isize::try_from(last.leading_zeros() + 1).map_err(|_| Damaged)?;
        Ok(Self { data, left: isize::try_from(data.len() * 8).map_err(|_| Damaged)? - unused })
    }

    /// The next bits, at most 32, without consuming them. Beyond the end there are zeros.
    pub(super) fn peek(&self, count: u32) -> u64 {
        match usize::try_from(self.left - count as isize) {
            Ok(at) => low(window(self.data, at), count),
            // The remaining bits are the upper ones.
            Err(_) => match u32::try_from(self.left) {
                Ok(left) => low(window(self.data, 0), left) << (count - left),
                Err(_) => 0,
            },
        }
    }

    pub(super) const fn skip(&mut self, count: u32) {
        // The output bounds how much is read, so this does not saturate.
        self.left = self.left.saturating_sub(count as isize);
    }

    pub(super) fn take(&mut self, count: u32) -> u64 {
        let value = self.peek(count);
        self.skip(count);
        value
    }

    /// Whether more was read than there is.
    pub(super) const fn is_overrun(&self) -> bool {
        self.left < 0
    }

    /// Whether all was read, and no more.
    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0
    }
}
