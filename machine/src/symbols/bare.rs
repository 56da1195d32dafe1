#![expect(unsafe_code, reason = "reads the symbol table that is added to the image after linking")]
//! Names of functions, from the table that `cargo xtask build` writes into the image after linking.
//! Little-endian format: the magic number; the count (u32); for each function, in ascending order,
//! its offset from the image's start and the offset of its name in the table (u32 each). A name is
//! its length (u16) and its bytes. Without a table only addresses are known.

use crate::integers::{to_usize, u16_at, u32_at};
use crate::layout;
use crate::speculation::MaskedIndex;

const MAGIC: &[u8; 8] = b"PVSYMS01";
const HEADER: usize = 12;
const ENTRY: usize = 8;

/// The table, if there is one.
fn table() -> Option<&'static [u8]> {
    let (start, end) = (layout::symbols_start(), layout::symbols_end());
    // SAFETY: the linker reserves the bytes between the two symbols, in read-only data.
    let table: &[u8] = unsafe { core::slice::from_raw_parts(start as *const u8, to_usize(end - start)) };
    table.starts_with(MAGIC).then_some(table)
}

/// Name and offset of the function at an index of the table.
fn entry(table: &'static [u8], index: usize) -> Option<(&'static str, u32)> {
    let entry = HEADER + index * ENTRY;
    let name = u32_at(table, entry + 4)? as usize;
    let length = u16_at(table, name)?;
    let bytes = table.part(name + 2..name + 2 + usize::from(length))?;
    Some((core::str::from_utf8(bytes).ok()?, u32_at(table, entry)?))
}

/// The number of functions in the table.
pub fn count() -> u32 {
    table().and_then(|table| u32_at(table, 8)).unwrap_or(0)
}

/// Name and address of a function, counted from zero in ascending order.
pub fn by_number(number: u32) -> Option<(&'static str, u64)> {
    let (name, offset) = entry(table()?, usize::try_from(number).ok().filter(|_| number < count())?)?;
    Some((name, layout::image_start() + u64::from(offset)))
}

/// The build id in the image's ELF note: the bytes after the note's header and name.
pub fn build_id() -> Option<&'static [u8]> {
    const NAME: &[u8; 4] = b"GNU\0";
    const NOTE_HEADER: usize = 12;
    let (start, end) = (layout::build_id_start(), layout::build_id_end());
    // SAFETY: the linker places the note between the two symbols, in read-only data.
    let note: &[u8] = unsafe { core::slice::from_raw_parts(start as *const u8, to_usize(end - start)) };
    let length = u32_at(note, 4)? as usize;
    let [name, id] = note.part(NOTE_HEADER..)?.divide(NAME.len())?;
    (u32_at(note, 0)? as usize == NAME.len() && name == NAME).then(|| id.part(..length)).flatten()
}

/// The function that contains an address of the image, and the offset of the address in it.
pub(crate) fn lookup(address: u64) -> Option<(&'static str, u64)> {
    let table = table()?;
    if !(layout::image_start()..layout::text_end()).contains(&address) {
        return None;
    }
    let offset = u32::try_from(address - layout::image_start()).ok()?;
    let (mut low, mut high) = (0, u32_at(table, 8)? as usize);
    while low < high {
        let middle = low + (high - low) / 2;
        if u32_at(table, HEADER + middle * ENTRY)? <= offset {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (name, start) = entry(table, low.checked_sub(1)?)?;
    Some((name, u64::from(offset - start)))
}
