//! LZMA2: chunks, plain or compressed with LZMA, whose state is kept from chunk to chunk unless a
//! chunk resets it.

use super::lzma::Lzma;
use crate::error::Damaged;

/// Decompresses chunks until the end mark; returns the bytes written and the bytes read.
pub(super) fn decompress(data: &[u8], output: &mut [u8]) -> Result<(usize, usize), Damaged> {
    let mut lzma = Lzma::new();
    let (mut read, mut done) = (0, 0);
    // What earlier chunks must have set up for chunks of some kinds.
    let (mut has_dictionary, mut has_properties) = (false, false);
    loop {
        let header = data.get(read..).ok_or(Damaged)?;
        let control = *header.first().ok_or(Damaged)?;
        if control == 0 {
            return Ok((done, read + 1));
        }
        if control == 1 || control >= 0xe0 {
            lzma.reset_dictionary(done);
            has_dictionary = true;
            has_properties &= control != 1;
        }
        if !has_dictionary {
            return Err(Damaged);
        }
        if control < 0x80 {
            if control > 2 {
                return Err(Damaged);
            }
            let length = big_endian(header, 1)? + 1;
            let from = header.get(3..3 + length).ok_or(Damaged)?;
            output.get_mut(done..done + length).ok_or(Damaged)?.copy_from_slice(from);
            read += 3 + length;
            done += length;
            continue;
        }
        let length = (usize::from(control & 0x1f) << 16) + big_endian(header, 1)? + 1;
        let compressed = big_endian(header, 3)? + 1;
        let mut start = 5;
        if control >= 0xc0 {
            lzma.set_properties(*header.get(5).ok_or(Damaged)?)?;
            has_properties = true;
            start = 6;
        }
        if control >= 0xa0 {
            lzma.reset_state();
        }
        if !has_properties {
            return Err(Damaged);
        }
        let chunk = header.get(start..start + compressed).ok_or(Damaged)?;
        lzma.decompress(chunk, output, done, length)?;
        read += start + compressed;
        done += length;
    }
}

fn big_endian(data: &[u8], at: usize) -> Result<usize, Damaged> {
    let bytes = data.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).ok_or(Damaged)?;
    Ok(usize::from(u16::from_be_bytes(bytes)))
}
