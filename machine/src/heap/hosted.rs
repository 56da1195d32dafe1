#![expect(unsafe_code, reason = "a global allocator that counts")]
//! The process's own heap, which a test can make short. It counts what each thread has allocated,
//! and refuses allocations when a test wants it to.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::alloc::System;
use std::thread_local;

static SHORT: AtomicBool = AtomicBool::new(false);

/// What a thread has allocated and not given back; what others give back of it is not noticed.
#[derive(Clone, Copy)]
struct Account {
    live: usize,
    most: usize,
    /// An allocation of so many bytes fails.
    refused: usize,
}

thread_local! {
    static ACCOUNT: Cell<Account> = const { Cell::new(Account { live: 0, most: 0, refused: usize::MAX }) };
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

/// Notes an allocation; `false` if it is refused.
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
    // A thread that ends has no account any more.
    noted.unwrap_or(true)
}

// SAFETY: all is done by the system's allocator, or refused.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !note(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
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

/// Makes the heap short, or not any more.
pub fn set_short(short: bool) {
    SHORT.store(short, Ordering::Relaxed);
}

/// Does `work`; how many bytes more than before this thread has had at a time meanwhile.
pub fn most_allocated<R>(work: impl FnOnce() -> R) -> (R, usize) {
    let mut account = ACCOUNT.get();
    let former = account.most;
    // What was allocated before, and may be given back, is not counted against it.
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

/// Does `work`, in which this thread gets no `bytes` bytes or more in one allocation.
pub fn refusing<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    ACCOUNT.set(Account { refused: bytes, ..ACCOUNT.get() });
    let result = work();
    ACCOUNT.set(Account { refused: usize::MAX, ..ACCOUNT.get() });
    result
}

/// See `machine::heap`; nobody counts here.
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
    use std::vec::Vec;

    #[test]
    fn the_most_that_was_allocated_at_a_time_is_known() {
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
    fn large_allocations_are_refused() {
        let mut list: Vec<u8> = Vec::new();
        refusing(100, || {
            assert!(list.try_reserve_exact(99).is_ok());
            assert!(list.try_reserve_exact(100).is_err());
        });
        assert!(list.try_reserve_exact(100).is_ok());
    }
}
