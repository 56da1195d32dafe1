#![expect(unsafe_code, reason = "the M2P is an array at an address that boot has mapped")]
//! The machine-to-physical table: for each machine frame the pseudo-physical number assigned by its
//! owner. Guests read it. No decision of Paravane depends on it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{Mfn, Pfn};
use crate::integers::to_usize;
use crate::ram;
use crate::speculation;

/// The entry of frames without a number.
pub const INVALID: Pfn = Pfn::new(u64::MAX);

/// Frames in 2 MiB.
const CHUNK: u64 = 512;

/// The number of pages of the table.
fn pages() -> u64 {
    (ram::frame_count() * 8).div_ceil(1 << 12)
}

/// The frames that contain the table, one for each 2 MiB.
pub fn frames() -> impl Iterator<Item = Mfn> {
    let starts = (0..pages()).step_by(to_usize(CHUNK));
    ram::m2p_frame().into_iter().flat_map(move |first| starts.clone().map(move |page| Mfn::new(first.get() + page)))
}

/// Whether the frame contains part of the table, whose memory is a multiple of 2 MiB.
pub(crate) fn contains(mfn: Mfn) -> bool {
    let size = pages().next_multiple_of(CHUNK);
    ram::m2p_frame().is_some_and(|first| mfn.get().checked_sub(first.get()).is_some_and(|offset| offset < size))
}

fn entry(mfn: Mfn) -> Option<&'static AtomicU64> {
    let index = speculation::bounded(to_usize(mfn.get()), to_usize(ram::frame_count()))?;
    // SAFETY: boot has mapped one entry for each frame that the frame table covers, writable by
    // Paravane through this address. The table is accessed only atomically.
    Some(unsafe { &*ram::m2p().wrapping_add(index).cast::<AtomicU64>() })
}

/// Records a frame's number. Frames beyond the table are ignored.
pub(crate) fn set(mfn: Mfn, pfn: Pfn) {
    if let Some(entry) = entry(mfn) {
        entry.store(pfn.get(), Ordering::Relaxed);
    }
}

/// The number recorded for a frame, or [`INVALID`].
pub fn get(mfn: Mfn) -> Pfn {
    entry(mfn).map_or(INVALID, |entry| Pfn::new(entry.load(Ordering::Relaxed)))
}
