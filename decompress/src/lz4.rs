//! LZ4's legacy frame, which `lz4 -l` writes: a magic number, then blocks. Each block begins with
//! its compressed size and has 8 MiB of contents, the last one less. `lz4_flex` decodes the blocks;
//! it has the newer frame format only.

use lz4_flex::block;

use crate::error::Damaged;

const MAGIC: u32 = 0x184c_2102;
/// Contents of a block, in bytes.
const BLOCK: usize = 8 << 20;

/// Decompresses all frames of `data`.
pub(crate) fn decompress(mut data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut done = 0;
    while done < output.len() {
        let (size, rest) = data.split_first_chunk().ok_or(Damaged)?;
        let size = u32::from_le_bytes(*size);
        data = rest;
        if size == MAGIC {
            // Frames may follow each other.
            continue;
        }
        let size = usize::try_from(size).map_err(|_| Damaged)?;
        let (contents, rest) = data.split_at_checked(size).ok_or(Damaged)?;
        let end = done.saturating_add(BLOCK).min(output.len());
        let room = output.get_mut(done..end).ok_or(Damaged)?;
        done += block::decompress_into(contents, room).map_err(|_| Damaged)?;
        data = rest;
    }
    data.is_empty().then_some(()).ok_or(Damaged)
}
