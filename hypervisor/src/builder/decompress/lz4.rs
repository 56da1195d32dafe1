//! LZ4's legacy frame: a magic number, then blocks that each begin with their compressed size and become 8 MiB, the last
//! one less. A block is a row of sequences: literals, then bytes again from so far back.

use super::Damaged;
use super::copy::{append, repeat};
use crate::builder::bzimage::read_u32;

const MAGIC: usize = 0x184c_2102;
const BLOCK: usize = 8 << 20;
/// The shortest repetition.
const SHORTEST: usize = 4;

pub(super) fn decompress(mut data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut done = 0;
    while done < output.len() {
        let size = read_u32(data, 0).ok_or(Damaged)?;
        data = &data[4..];
        if size == MAGIC {
            // frames may follow each other
            continue;
        }
        let (contents, rest) = data.split_at_checked(size).ok_or(Damaged)?;
        let end = done.saturating_add(BLOCK).min(output.len());
        let room = output.get_mut(done..end).ok_or(Damaged)?;
        done += block(contents, room)?;
        data = rest;
    }
    data.is_empty().then_some(()).ok_or(Damaged)
}

/// Decompresses one block; returns how much came out.
fn block(data: &[u8], output: &mut [u8]) -> Result<usize, Damaged> {
    let (mut read, mut done) = (0, 0);
    loop {
        let token = usize::from(*data.get(read).ok_or(Damaged)?);
        read += 1;
        let literals = length(token >> 4, data, &mut read)?;
        append(output, done, data, read, literals)?;
        read += literals;
        done += literals;
        if read == data.len() {
            // the last sequence has literals only
            return Ok(done);
        }
        let distance = data.get(read..).and_then(|rest| rest.first_chunk()).ok_or(Damaged)?;
        read += 2;
        let length = length(token & 15, data, &mut read)?.saturating_add(SHORTEST);
        repeat(output, done, usize::from(u16::from_le_bytes(*distance)), length)?;
        done += length;
    }
}

/// A length: its first four bits, and as many bytes more as it takes.
fn length(first: usize, data: &[u8], read: &mut usize) -> Result<usize, Damaged> {
    let mut length = first;
    if first == 15 {
        loop {
            let more = *data.get(*read).ok_or(Damaged)?;
            *read += 1;
            length += usize::from(more);
            if more != 255 {
                break;
            }
        }
    }
    Ok(length)
}
