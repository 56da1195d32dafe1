#![expect(unsafe_code, reason = "the global allocator")]
//! Paravane's own heap: a region of RAM reserved at boot, and pieces of free memory that are added
//! before it is used up, or where it has no room for an allocation. Where no memory is free, what
//! guests can make grow stops growing while the reserve is left. An allocation that fails even so
//! ends the host, if it is one that cannot fail; so what guests can make Paravane allocate without
//! a look at the reserve is bounded by the hypervisor, for each pCPU.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use super::UNASKED;
use crate::frames::Buffer;
use crate::per_cpu;
use crate::sync::{Level, SpinLock};

struct Heap(SpinLock<Talc<Manual, DefaultBinning>>);

/// Bytes of the heap, and of what has been allocated in it.
static SIZE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// What an allocation takes beside its own bytes, about.
const OVERHEAD: usize = 16;
/// What is added at a time. It stays the heap's.
const PIECE: usize = 256 << 10;
/// What is kept for allocations that nobody asks for, beside what is kept for each pCPU.
const RESERVE: usize = 1 << 20;
/// What the heap needs to keep account of a piece, at most.
const SLACK: usize = 4096;

/// See `machine::heap`.
pub fn has_room(bytes: usize) -> bool {
    loop {
        let (used, size) = usage();
        if used + RESERVE + UNASKED * per_cpu::online() + bytes <= size {
            return true;
        }
        if !grow(PIECE) {
            return false;
        }
    }
}

/// Adds a piece of free memory; `false` if there is none of that size.
fn grow(bytes: usize) -> bool {
    let Some(piece) = Buffer::new(bytes) else { return false };
    let piece = piece.leak();
    // SAFETY: the bytes are nobody else's for ever.
    unsafe { add(piece.as_mut_ptr() as u64, piece.len()) };
    true
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
        let mut allocated = unsafe { self.0.lock().allocate(layout) };
        if allocated.is_none() {
            let least = layout.size().saturating_add(layout.align()).saturating_add(SLACK);
            if grow(least.max(PIECE)) || grow(least) {
                // SAFETY: as before.
                allocated = unsafe { self.0.lock().allocate(layout) };
            }
        }
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
