//! The step that all methods with a window share: bytes that came out before come out again.

use super::Damaged;

const WORD: usize = 8;

/// Puts `length` bytes at `at` that stand `distance` further in front; the two may overlap, then what is written repeats. May
/// write zero to seven bytes more, to be overwritten by what comes next.
pub(super) fn repeat(output: &mut [u8], at: usize, distance: usize, length: usize) -> Result<(), Damaged> {
    let mut from = at.checked_sub(distance).filter(|_| distance != 0).ok_or(Damaged)?;
    let end = at.checked_add(length).filter(|&end| end <= output.len()).ok_or(Damaged)?;
    let mut to = at;
    if distance >= WORD {
        while to < end && output.len() - to >= WORD {
            let word = output.get(from..).and_then(|bytes| bytes.first_chunk::<WORD>()).copied().ok_or(Damaged)?;
            *output.get_mut(to..).and_then(|bytes| bytes.first_chunk_mut::<WORD>()).ok_or(Damaged)? = word;
            from += WORD;
            to += WORD;
        }
    }
    while to < end {
        output[to] = output[from];
        from += 1;
        to += 1;
    }
    Ok(())
}
