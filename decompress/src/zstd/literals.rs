//! The literals of a block: bytes that do not repeat earlier output.

use alloc::vec;
use alloc::vec::Vec;

use super::huffman::Code;
use super::{MAX_BLOCK, take};
use crate::bytes::little_endian;
use crate::error::Damaged;

/// The code that is kept from block to block, and room for the literals of a block.
pub(super) struct Literals {
    code: Code,
    room: Vec<u8>,
}

impl Literals {
    pub(super) fn new() -> Self {
        Self { code: Code::new(), room: vec![0; MAX_BLOCK] }
    }

    /// Reads the section of literals from the front of a block.
    pub(super) fn read(&mut self, data: &mut &[u8]) -> Result<&[u8], Damaged> {
        let first = *data.first().ok_or(Damaged)?;
        let format = first >> 2 & 3;
        let kind = first & 3;
        if kind < 2 {
            // The length of the header, and the bit at which the size begins.
            let (length, shift) = [(1, 3), (2, 4), (1, 3), (3, 4)][usize::from(format)];
            let size = (little_endian(take(data, length)?) >> shift) as usize;
            let room = self.room.get_mut(..size).ok_or(Damaged)?;
            if kind == 0 {
                room.copy_from_slice(take(data, size)?);
            } else {
                room.fill(take(data, 1)?[0]);
            }
            return Ok(room);
        }
        let (length, width) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(format)];
        let sizes = little_endian(take(data, length)?) >> 4;
        let mask = (1u64 << width) - 1;
        let (size, compressed) = ((sizes & mask) as usize, (sizes >> width & mask) as usize);
        let mut streams = take(data, compressed)?;
        if kind == 2 {
            self.code.read(&mut streams)?;
        }
        let room = self.room.get_mut(..size).ok_or(Damaged)?;
        if !self.code.is_set() {
            return Err(Damaged);
        }
        if format == 0 {
            self.code.decode(streams, room)?;
        } else {
            decode_four(&self.code, streams, room)?;
        }
        Ok(room)
    }
}

/// Decodes four streams, each a quarter of the output. The lengths of the first three precede them.
fn decode_four(code: &Code, mut streams: &[u8], mut room: &mut [u8]) -> Result<(), Damaged> {
    let lengths = take(&mut streams, 6)?;
    let quarter = room.len().div_ceil(4);
    for length in lengths.chunks(2) {
        let stream = take(&mut streams, little_endian(length) as usize)?;
        let (part, rest) = room.split_at_mut_checked(quarter).ok_or(Damaged)?;
        code.decode(stream, part)?;
        room = rest;
    }
    code.decode(streams, room)
}
