//! zstd (RFC 8878) into one flat buffer, which serves as the window: Linux's build uses windows of up to 128 MiB, more than
//! the heap has. No dictionaries.

mod bits;
mod fse;
mod huffman;
mod literals;
mod sequences;

use twox_hash::XxHash64;

use self::literals::Literals;
use self::sequences::Sequences;
use super::Damaged;
use crate::builder::bzimage::read_u32;

const MAGIC: usize = 0xfd2f_b528;
/// Frames to be skipped have this number, with anything in the lowest four bits.
const SKIPPED: usize = 0x184d_2a50;
/// The largest block.
const MAX_BLOCK: usize = 128 << 10;

/// Decompresses all frames of `data`.
pub(super) fn decompress(mut data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut done = 0;
    while !data.is_empty() {
        let magic = read_u32(data, 0).ok_or(Damaged)?;
        data = &data[4..];
        if magic & !15 == SKIPPED {
            let length = read_u32(data, 0).ok_or(Damaged)?;
            data = data.get(4..).and_then(|rest| rest.get(length..)).ok_or(Damaged)?;
        } else if magic == MAGIC {
            let room = output.get_mut(done..).ok_or(Damaged)?;
            let (written, rest) = frame(data, room)?;
            done += written;
            data = rest;
        } else {
            return Err(Damaged);
        }
    }
    (done == output.len()).then_some(()).ok_or(Damaged)
}

/// Takes `length` bytes off the front.
fn take<'a>(data: &mut &'a [u8], length: usize) -> Result<&'a [u8], Damaged> {
    let (taken, rest) = data.split_at_checked(length).ok_or(Damaged)?;
    *data = rest;
    Ok(taken)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// What a frame's header says and is of use here.
struct Header {
    content_size: Option<u64>,
    has_checksum: bool,
}

fn header(data: &mut &[u8]) -> Result<Header, Damaged> {
    let descriptor = take(data, 1)?[0];
    let single_segment = descriptor & 1 << 5 != 0;
    if descriptor & 1 << 3 != 0 {
        return Err(Damaged);
    }
    if !single_segment {
        // the window's size: all of the output is kept anyway
        take(data, 1)?;
    }
    let dictionary = take(data, [0, 1, 2, 4][usize::from(descriptor & 3)])?;
    if dictionary.iter().any(|&byte| byte != 0) {
        return Err(Damaged);
    }
    let content_size = match descriptor >> 6 {
        0 if !single_segment => None,
        0 => Some(u64::from(take(data, 1)?[0])),
        1 => Some(little_endian(take(data, 2)?) + 256),
        2 => Some(little_endian(take(data, 4)?)),
        _ => Some(little_endian(take(data, 8)?)),
    };
    Ok(Header { content_size, has_checksum: descriptor & 1 << 2 != 0 })
}

/// Decompresses one frame; returns how much came out, and what follows the frame.
fn frame<'a>(mut data: &'a [u8], output: &mut [u8]) -> Result<(usize, &'a [u8]), Damaged> {
    let header = header(&mut data)?;
    let mut literals = Literals::new();
    let mut sequences = Sequences::new();
    let mut done = 0;
    loop {
        let block = little_endian(take(&mut data, 3)?);
        let size = usize::try_from(block >> 3).map_err(|_| Damaged)?;
        match block >> 1 & 3 {
            0 => {
                let contents = take(&mut data, size)?;
                output.get_mut(done..).and_then(|room| room.get_mut(..size)).ok_or(Damaged)?.copy_from_slice(contents);
                done += size;
            }
            1 => {
                let byte = take(&mut data, 1)?[0];
                output.get_mut(done..).and_then(|room| room.get_mut(..size)).ok_or(Damaged)?.fill(byte);
                done += size;
            }
            2 if size <= MAX_BLOCK => {
                let mut contents = take(&mut data, size)?;
                let literals = literals.read(&mut contents)?;
                done = sequences.execute(contents, literals, output, done)?;
            }
            _ => return Err(Damaged),
        }
        if block & 1 != 0 {
            break;
        }
    }
    let sized = header.content_size.is_none_or(|size| size == done as u64);
    let checksum = if header.has_checksum { Some(little_endian(take(&mut data, 4)?)) } else { None };
    let intact = checksum.is_none_or(|sum| sum == XxHash64::oneshot(0, &output[..done]) & 0xffff_ffff);
    (sized && intact).then_some((done, data)).ok_or(Damaged)
}
