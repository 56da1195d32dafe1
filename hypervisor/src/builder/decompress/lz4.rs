//! LZ4's legacy frame: a magic number, then blocks that each begin with their compressed size and become 8 MiB, the last
//! one less.

use super::Damaged;
use crate::builder::bzimage::read_u32;

const MAGIC: usize = 0x184c_2102;
const BLOCK: usize = 8 << 20;

pub(super) fn decompress(mut data: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut done = 0;
    while done < output.len() {
        let size = read_u32(data, 0).ok_or(Damaged)?;
        data = &data[4..];
        if size == MAGIC {
            // frames may follow each other
            continue;
        }
        let block = data.get(..size).ok_or(Damaged)?;
        let end = done.saturating_add(BLOCK).min(output.len());
        let room = output.get_mut(done..end).ok_or(Damaged)?;
        done += lz4_flex::block::decompress_into(block, room).map_err(|_| Damaged)?;
        data = &data[size..];
    }
    data.is_empty().then_some(()).ok_or(Damaged)
}
