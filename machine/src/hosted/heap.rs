//! The process has a heap of its own, which is short when a test says so.

use core::sync::atomic::{AtomicBool, Ordering};

static SHORT: AtomicBool = AtomicBool::new(false);

/// Makes [`is_short`] say so, or not any more.
pub fn set_short(short: bool) {
    SHORT.store(short, Ordering::Relaxed);
}

/// See `machine::heap`; nobody counts here.
pub const fn usage() -> (usize, usize) {
    (0, 0)
}

/// See `machine::heap`.
pub fn is_short() -> bool {
    SHORT.load(Ordering::Relaxed)
}
