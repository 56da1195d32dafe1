#![expect(unsafe_code, reason = "the global allocator")]
//! Paravane's own heap: a region of RAM reserved at boot, and pieces of free memory that are added before it is used up. When it is, allocation fails,
//! and what cannot do without ends the host; so what guests can make Paravane allocate is bounded by the hypervisor.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use crate::frames::Buffer;
use crate::sync::{Level, SpinLock};

struct Heap(SpinLock<Talc<Manual, DefaultBinning>>);

/// Bytes of the heap, and of what has been allocated in it.
static SIZE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// What an allocation takes beside its own bytes, about.
const OVERHEAD: usize = 16;
/// What is kept for what cannot do without.
const RESERVE: usize = 1 << 20;
/// What is added at a time. It stays the heap's.
const PIECE: usize = 256 << 10;

/// See `machine::heap`.
pub fn is_short() -> bool {
    loop {
        let (used, size) = usage();
        if used + RESERVE <= size {
            return false;
        }
        let Some(piece) = Buffer::new(PIECE) else { return true };
        let piece = piece.leak();
        // SAFETY: the bytes are nobody else's for ever.
        unsafe { add(piece.as_mut_ptr() as u64, piece.len()) };
    }
}

/// See `machine::heap`.
pub fn usage() -> (usize, usize) {
    (USED.load(Ordering::Relaxed), SIZE.load(Ordering::Relaxed))
}

#[global_allocator]
static HEAP: Heap = Heap(SpinLock::new(Level::Heap, Talc::new(Manual)));

/// Gives the heap memory.
///
/// # Safety
/// The range must be mapped, writable, and nobody else's for ever.
pub(crate) unsafe fn add(start: u64, size: usize) {
    let mut heap = HEAP.0.lock();
    // SAFETY: the caller vouches for the range.
    let claimed = unsafe { heap.claim(start as *mut u8, size) };
    assert!(claimed.is_some(), "the heap's region is too small");
    SIZE.fetch_add(size, Ordering::Relaxed);
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
