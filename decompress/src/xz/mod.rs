//! The xz container (`xz-file-format.txt` of XZ Utils), as far as Linux's build uses it: blocks of
//! LZMA2, with or without the filter for x86 branches, and with a CRC-32 check or none.
//!
//! Everything is decompressed in place. The output is the dictionary, for which Linux's build
//! requests 32 MiB and more.

mod lzma;
mod lzma2;
mod x86;

use crate::bytes::read_u32;
use crate::error::{Damaged, Failure};

const HEADER: usize = 12;
const FILTER_X86: u64 = 0x04;
const FILTER_LZMA2: u64 = 0x21;
const HAS_COMPRESSED_SIZE: u8 = 1 << 6;
const HAS_SIZE: u8 = 1 << 7;

/// Decompresses the first stream of `data`.
pub(crate) fn decompress(data: &[u8], output: &mut [u8]) -> Result<(), Failure> {
    let header = data.get(..HEADER).ok_or(Damaged)?;
    let check_length = match header[6..8] {
        [0, 0] => 0,
        [0, 1] => 4,
        _ => return Err(Failure::Unsupported("an xz check that is not CRC-32")),
    };
    check(&header[6..8], &header[8..])?;
    let mut at = HEADER;
    let mut done = 0;
    // A zero in place of a block's header begins the index, which repeats what is known.
    while *data.get(at).ok_or(Damaged)? != 0 {
        let length = (usize::from(data[at]) + 1) * 4;
        let block = data.get(at..at + length).ok_or(Damaged)?;
        let filter = block_header(block)?;
        at += length;
        let room = output.get_mut(done..).ok_or(Damaged)?;
        let (written, read) = lzma2::decompress(data.get(at..).ok_or(Damaged)?, room)?;
        let room = &mut room[..written];
        if let Some(start) = filter {
            x86::decode(room, start);
        }
        at = (at + read).next_multiple_of(4);
        let stored = data.get(at..at + check_length).ok_or(Damaged)?;
        if check_length != 0 {
            check(room, stored)?;
        }
        at += check_length;
        done += written;
    }
    (done == output.len()).then_some(()).ok_or(Failure::Damaged)
}

/// Compares the CRC-32 of the bytes with the stored one.
fn check(bytes: &[u8], stored: &[u8]) -> Result<(), Damaged> {
    (read_u32(stored, 0) == Some(crc32fast::hash(bytes))).then_some(()).ok_or(Damaged)
}

/// Reads a block's header: the start position of the x86 filter, if there is one.
fn block_header(header: &[u8]) -> Result<Option<u32>, Failure> {
    let (mut fields, sum) = header.split_at_checked(header.len() - 4).ok_or(Damaged)?;
    check(fields, sum)?;
    fields = fields.get(1..).ok_or(Damaged)?;
    let flags = byte(&mut fields)?;
    for size in [HAS_COMPRESSED_SIZE, HAS_SIZE] {
        if flags & size != 0 {
            number(&mut fields)?;
        }
    }
    let mut filter = || -> Result<(u64, &[u8]), Damaged> {
        let id = number(&mut fields)?;
        let length = usize::try_from(number(&mut fields)?).map_err(|_| Damaged)?;
        let (properties, rest) = fields.split_at_checked(length).ok_or(Damaged)?;
        fields = rest;
        Ok((id, properties))
    };
    let mut start = None;
    for _ in 0..flags & 3 {
        let (id, properties) = filter()?;
        if id != FILTER_X86 || start.is_some() {
            return Err(Failure::Unsupported("an xz filter other than x86"));
        }
        start = Some(read_u32(properties, 0).unwrap_or(0));
    }
    match filter()? {
        (FILTER_LZMA2, [_]) => Ok(start),
        _ => Err(Failure::Unsupported("an xz method other than LZMA2")),
    }
}

fn byte(data: &mut &[u8]) -> Result<u8, Damaged> {
    let (first, rest) = data.split_first().ok_or(Damaged)?;
    *data = rest;
    Ok(*first)
}

/// A number of up to 63 bits, seven in each byte.
fn number(data: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let next = byte(data)?;
        value |= u64::from(next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged)
}
