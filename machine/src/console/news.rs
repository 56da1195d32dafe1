//! What happens on the consoles that the scheduler's loop is to hear of. Writers only leave a note,
//! since they hold locks; the loop looks often, so all notes are in one word.

use core::sync::atomic::{AtomicU8, Ordering};

use bitflags::bitflags;

bitflags! {
    /// What has happened since it was last asked.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct News: u8 {
        /// Something was added to the history.
        const HISTORY = 1 << 0;
        /// Something was written that the screen does not show yet.
        const UNDRAWN = 1 << 1;
    }
}

static NEWS: AtomicU8 = AtomicU8::new(0);

/// Leaves a note.
pub(crate) fn note(news: News) {
    NEWS.fetch_or(news.bits(), Ordering::SeqCst);
}

/// Whether [`take`] would have something.
#[inline]
pub fn any() -> bool {
    NEWS.load(Ordering::Relaxed) != 0
}

/// What has happened since the last call.
pub fn take() -> News {
    News::from_bits_retain(if any() { NEWS.swap(0, Ordering::SeqCst) } else { 0 })
}
