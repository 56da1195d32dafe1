#![expect(unsafe_code, reason = "reads a table that is added to the image after linking, and patches code")]
//! The returns of compiled code. The compiler makes each a jump to `__x86_return_thunk`, whose
//! return is in the upper half of a cache line, where ITS cannot use it. Where ITS is no danger,
//! boot makes the jumps plain returns.
//!
//! `cargo xtask build` writes their table into the image after linking. Little-endian format: the
//! count (u32); for each return, the offset of its jump from the image's start (u32). A jump has
//! five bytes.

use crate::integers::{to_usize, u32_at};
use crate::layout;

/// RET, in place of a jump with a displacement; INT3 fills the rest.
const RETURN: [u8; 5] = [0xc3, 0xcc, 0xcc, 0xcc, 0xcc];

/// The first byte of a jump with a displacement of 32 bits.
const JUMP: u8 = 0xe9;

/// Makes all returns of compiled code plain.
///
/// # Safety
/// No other CPU may be running.
pub(crate) unsafe fn make_plain() {
    let (start, end) = (layout::returns_start(), layout::returns_end());
    // SAFETY: the linker reserves the bytes between the two symbols, in read-only data.
    let table: &[u8] = unsafe { core::slice::from_raw_parts(start as *const u8, to_usize(end - start)) };
    let count = u32_at(table, 0).unwrap_or(0) as usize;
    for offset in (1..=count).filter_map(|index| u32_at(table, index * 4)) {
        let physical = layout::image_start() + u64::from(offset) - layout::IMAGE_OFFSET;
        let jump = layout::direct(physical) as *mut [u8; 5];
        // SAFETY: the table names instructions of the image.
        let found = unsafe { jump.read() };
        if found[0] == JUMP {
            // SAFETY: the build found a jump to the thunk there. A return in its place does the
            // same. The direct map maps it writable.
            unsafe { jump.write(RETURN) };
        }
    }
}
