#![expect(unsafe_code, reason = "the global allocator")]
//! Paravane's own heap: a region of RAM reserved at boot. When it is used up, allocation fails, and what cannot do without
//! ends the host; so what guests can make Paravane allocate is bounded by the hypervisor.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use crate::sync::{Level, SpinLock};

struct Heap(SpinLock<Talc<Manual, DefaultBinning>>);

/// Bytes of the region, and of what has been allocated in it.
static SIZE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// What an allocation takes beside its own bytes, about.
const OVERHEAD: usize = 16;
/// The part of the region that is kept for what cannot do without.
const RESERVE: usize = 8;

/// See `machine::heap`.
pub fn is_short() -> bool {
    let size = SIZE.load(Ordering::Relaxed);
    USED.load(Ordering::Relaxed) > size - size / RESERVE
}

/// See `machine::heap`.
pub fn usage() -> (usize, usize) {
    (USED.load(Ordering::Relaxed), SIZE.load(Ordering::Relaxed))
}

#[global_allocator]
static HEAP: Heap = Heap(SpinLock::new(Level::Heap, Talc::new(Manual)));

/// Gives the heap its memory.
///
/// # Safety
/// The range must be mapped, writable, and nobody else's for ever.
pub(crate) unsafe fn init(start: u64, size: usize) {
    let mut heap = HEAP.0.lock();
    // SAFETY: the caller vouches for the range.
    let claimed = unsafe { heap.claim(start as *mut u8, size) };
    assert!(claimed.is_some(), "the heap's region is too small");
    SIZE.store(size, Ordering::Relaxed);
}

// SAFETY: the allocator behind the lock keeps the contract; the lock serialises.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is that of the inner allocator.
        let allocated = unsafe { self.0.lock().allocate(layout) };
        if allocated.is_some() {
            USED.fetch_add(layout.size() + OVERHEAD, Ordering::Relaxed);
        }
        allocated.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { self.0.lock().deallocate(pointer, layout) };
        USED.fetch_sub(layout.size() + OVERHEAD, Ordering::Relaxed);
    }
}
