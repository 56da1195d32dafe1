//! zstd (RFC 8878) into one flat buffer, which serves as the window. Linux's build uses windows of
//! up to 128 MiB, more than the hypervisor's heap has. There is no support for dictionaries.

mod bits;
mod fse;
mod huffman;
mod literals;
mod sequences;

use twox_hash::XxHash64;

use self::literals::Literals;
use self::sequences::Sequences;
use crate::bytes::little_endian;
use crate::error::Damaged;

const MAGIC: u32 = 0xfd2f_b528;
/// Frames to be skipped have this number, with any value in the lowest four bits.
const SKIPPED: u32 = 0x184d_2a50;
/// The largest block.
const MAX_BLOCK: usize = 128 << 10;

/// Decompresses all frames of `data`.
pub(crate) fn decompress(mut data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut done = 0;
    while !data.is_empty() {
        let magic = take_u32(&mut data)?;
        if magic & !15 == SKIPPED {
            let length = take_u32(&mut data)?;
            take(&mut data, usize::try_from(length).map_err(|_| Damaged)?)?;
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

/// Removes `length` bytes from the front and returns them.
fn take<'a>(data: &mut &'a [u8], length: usize) -> Result<&'a [u8], Damaged> {
    let (taken, rest) = data.split_at_checked(length).ok_or(Damaged)?;
    *data = rest;
    Ok(taken)
}

fn take_u32(data: &mut &[u8]) -> Result<u32, Damaged> {
    let (number, rest) = data.split_first_chunk().ok_or(Damaged)?;
    *data = rest;
    Ok(u32::from_le_bytes(*number))
}

/// The fields of a frame's header that are used.
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
        // The window's size is not needed: all of the output is kept.
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

/// Decompresses one frame; returns the number of bytes written and what follows the frame.
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
