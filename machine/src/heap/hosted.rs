#![expect(unsafe_code, reason = "a global allocator that counts")]
//! The process's heap, which a test can limit. It counts the allocations of each thread, and fails
//! allocations on request of a test.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::alloc::System;
use std::thread_local;

static SHORT: AtomicBool = AtomicBool::new(false);

/// A thread's live allocations in bytes. Memory freed by other threads is not subtracted.
#[derive(Clone, Copy)]
struct Account {
    live: usize,
    most: usize,
    /// Allocations of this size and above fail.
    refused: usize,
}

thread_local! {
    static ACCOUNT: Cell<Account> = const { Cell::new(Account { live: 0, most: 0, refused: usize::MAX }) };
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

/// Counts an allocation; returns `false` if it is refused.
fn note(bytes: usize) -> bool {
    let noted = ACCOUNT.try_with(|account| {
        let mut now = account.get();
        if bytes >= now.refused {
            return false;
        }
        now.live = now.live.wrapping_add(bytes);
        now.most = now.most.max(now.live);
        account.set(now);
        true
    });
    // The account of a thread that ends is gone.
    noted.unwrap_or(true)
}

// SAFETY: the system allocator handles all calls that are not refused.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !note(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller fulfils `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ended = ACCOUNT.try_with(|account| {
            let mut now = account.get();
            now.live = now.live.saturating_sub(layout.size());
            account.set(now);
        });
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) };
    }
}

/// Simulates a short heap, or a normal one.
pub fn set_short(short: bool) {
    SHORT.store(short, Ordering::Relaxed);
}

/// Runs `work`, and returns the maximum increase of this thread's live allocations during it.
pub fn most_allocated<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let mut account = ACCOUNT.get();
    let former = account.most;
    // Memory that was allocated before, and may be freed by `work`, is not subtracted.
    let before = account.live;
    account.most = before;
    ACCOUNT.set(account);
    let result = work();
    let mut account = ACCOUNT.get();
    let most = account.most - before;
    account.most = account.most.max(former);
    ACCOUNT.set(account);
    (result, most)
}

/// Runs `work` while allocations of `bytes` bytes or more by this thread fail.
pub fn refusing<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    ACCOUNT.set(Account { refused: bytes, ..ACCOUNT.get() });
    let result = work();
    ACCOUNT.set(Account { refused: usize::MAX, ..ACCOUNT.get() });
    result
}

/// See `machine::heap`. The hosted heap has no size.
pub const fn usage() -> (usize, usize) {
    (0, 0)
}

/// See `machine::heap`.
pub fn has_room(_: usize) -> bool {
    !SHORT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::backend as console;
    use std::vec::Vec;

    #[test]
    fn the_maximum_allocated_at_a_time_is_measured() {
        let kept: Vec<u8> = Vec::with_capacity(1000);
        let (_, most) = most_allocated(|| {
            drop(Vec::<u8>::with_capacity(300));
            drop((Vec::<u8>::with_capacity(200), Vec::<u8>::with_capacity(150)));
        });
        assert_eq!(most, 350);
        drop(kept);
        assert_eq!(most_allocated(|| ()).1, 0);
    }

    #[test]
    fn console_output_is_kept_outside_the_heap() {
        let ((), most) = most_allocated(|| (0..3000).for_each(|_| console::write(&[b'x'; 1000])));
        assert_eq!(most, 0);
        let kept = console::take_output().len();
        assert!((500_000..=1 << 20).contains(&kept), "{kept} bytes are kept");
    }

    #[test]
    fn large_allocations_are_refused() {
        let mut list: Vec<u8> = Vec::new();
        refusing(100, || {
            assert!(list.try_reserve_exact(99).is_ok());
            assert!(list.try_reserve_exact(100).is_err());
        });
        assert!(list.try_reserve_exact(100).is_ok());
    }
}
