//! Console events for the scheduler's loop. Writers hold locks, so they only set a flag. The loop
//! checks often, so all flags are in one word.

use core::sync::atomic::{AtomicU8, Ordering};

use bitflags::bitflags;

bitflags! {
    /// Events since the last check.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct News: u8 {
        /// Output was added to the history.
        const HISTORY = 1 << 0;
        /// Output was written that the screen does not show yet.
        const UNDRAWN = 1 << 1;
    }
}

static NEWS: AtomicU8 = AtomicU8::new(0);

/// Sets a flag.
pub(crate) fn note(news: News) {
    NEWS.fetch_or(news.bits(), Ordering::SeqCst);
}

/// Whether [`take`] would return any flag.
#[inline]
pub fn any() -> bool {
    NEWS.load(Ordering::Relaxed) != 0
}

/// Takes the events since the last call.
pub fn take() -> News {
    News::from_bits_retain(if any() { NEWS.swap(0, Ordering::SeqCst) } else { 0 })
}
