//! gzip (RFC 1952): a header, one deflate stream, its checksum and size.

use alloc::boxed::Box;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress as inflate};

use crate::bytes::read_u32;
use crate::error::Damaged;

const HEADER: usize = 10;
const HAS_CHECKSUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 7 << 5;

/// Decompresses the first member of `data`, whose trailer is the last eight bytes.
pub(crate) fn decompress(data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let trailer = data.len().checked_sub(8).ok_or(Damaged)?;
    let stream = data.get(header_length(data).ok_or(Damaged)?..trailer).ok_or(Damaged)?;
    let mut state = Box::<DecompressorOxide>::default();
    let (status, _, written) = inflate(&mut state, stream, output, 0, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF);
    let whole = status == TINFLStatus::Done && written == output.len();
    let intact = read_u32(data, trailer) == Some(crc32fast::hash(output));
    (whole && intact).then_some(()).ok_or(Damaged)
}

fn header_length(data: &[u8]) -> Option<usize> {
    let flags = *data.get(3)?;
    if flags & RESERVED != 0 {
        return None;
    }
    let mut at = HEADER;
    if flags & HAS_EXTRA != 0 {
        let length = u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?);
        at += 2 + usize::from(length);
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            at += data.get(at..)?.iter().position(|&byte| byte == 0)? + 1;
        }
    }
    if flags & HAS_CHECKSUM != 0 {
        at += 2;
    }
    Some(at)
}
