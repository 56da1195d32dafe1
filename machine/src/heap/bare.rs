#![expect(unsafe_code, reason = "the global allocator")]
//! Paravane's own heap: a region of RAM reserved at boot, and pieces of free memory that are added
//! before it is exhausted, or when it has no room for an allocation. If no memory is free,
//! structures that guests can grow stop growing while the reserve is left. If an infallible
//! allocation fails nevertheless, the host stops. The hypervisor therefore bounds, for each pCPU,
//! the memory that guests can make Paravane allocate without a check of the reserve.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use talc::DefaultBinning;
use talc::base::Talc;
use talc::source::Manual;

use super::MAX_UNCHECKED;
use crate::frames::Buffer;
use crate::per_cpu;
use crate::sync::{Level, SpinLock};

struct Heap(SpinLock<Talc<Manual, DefaultBinning>>);

/// Size of the heap, and of the memory allocated in it, in bytes.
static SIZE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Approximate overhead of an allocation in bytes.
const ALLOCATION_OVERHEAD: usize = 16;
/// Size of the pieces that are added. They are never returned.
const PIECE: usize = 256 << 10;
/// Reserve for allocations without a check, in addition to the reserve of each pCPU.
const RESERVE: usize = 1 << 20;
/// Maximum overhead of a piece in bytes.
const PIECE_OVERHEAD: usize = 4096;

/// See `machine::heap`.
pub fn has_room(bytes: usize) -> bool {
    loop {
        let (used, size) = usage();
        if used + RESERVE + MAX_UNCHECKED * per_cpu::online() + bytes <= size {
            return true;
        }
        if !grow(PIECE) {
            return false;
        }
    }
}

/// Adds a piece of free memory; returns `false` if no piece of that size is free.
fn grow(bytes: usize) -> bool {
    let Some(piece) = Buffer::new(bytes) else { return false };
    let piece = piece.leak();
    // SAFETY: the leaked bytes have no other owner.
    unsafe { add(piece.as_mut_ptr() as u64, piece.len()) };
    true
}

/// See `machine::heap`.
pub fn usage() -> (usize, usize) {
    (USED.load(Ordering::Relaxed), SIZE.load(Ordering::Relaxed))
}

#[global_allocator]
static HEAP: Heap = Heap(SpinLock::new(Level::Heap, Talc::new(Manual)));

/// Adds memory to the heap.
///
/// # Safety
/// The range must be mapped, writable, and permanently unused otherwise.
pub(crate) unsafe fn add(start: u64, size: usize) {
    let mut heap = HEAP.0.lock();
    // SAFETY: guaranteed by the caller.
    let claimed = unsafe { heap.claim(start as *mut u8, size) };
    assert!(claimed.is_some(), "the heap's region is too small");
    SIZE.fetch_add(size, Ordering::Relaxed);
}

// SAFETY: the inner allocator fulfils the contract, and the lock serialises its calls.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller fulfils `GlobalAlloc`'s contract, which is also that of the inner
        // allocator.
        let mut allocated = unsafe { self.0.lock().allocate(layout) };
        if allocated.is_none() {
            let least = layout.size().saturating_add(layout.align()).saturating_add(PIECE_OVERHEAD);
            if grow(least.max(PIECE)) || grow(least) {
                // SAFETY: as before.
                allocated = unsafe { self.0.lock().allocate(layout) };
            }
        }
        if allocated.is_some() {
            USED.fetch_add(layout.size() + ALLOCATION_OVERHEAD, Ordering::Relaxed);
        }
        allocated.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { self.0.lock().deallocate(pointer, layout) };
        USED.fetch_sub(layout.size() + ALLOCATION_OVERHEAD, Ordering::Relaxed);
    }
}
