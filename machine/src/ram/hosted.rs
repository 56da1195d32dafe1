#![expect(unsafe_code, reason = "returns pointers into the simulated memory")]
//! Machine memory of the test process: one allocation that is never freed, with a frame table and
//! an M2P beside it.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use super::FRAME_SLOT_SIZE;
use crate::addr::{MAX_CPUS, Mfn, PAGE_SIZE};
use crate::once::Once;
use crate::per_cpu;

struct Ram {
    frames: u64,
    memory: usize,
    table: usize,
    m2p: usize,
}

static RAM: Once<Ram> = Once::new();

fn leak_zeroed<T>(count: usize) -> usize {
    let layout = std::alloc::Layout::array::<T>(count).expect("a sensible size").align_to(PAGE_SIZE);
    // SAFETY: the layout has a size above zero; the allocation is never freed.
    let memory = unsafe { std::alloc::alloc_zeroed(layout.expect("a sensible alignment")) };
    assert!(!memory.is_null(), "no memory for the simulated machine");
    memory.expose_provenance()
}

/// The first of this CPU's two restricted roots, which are behind the simulated memory.
pub(crate) fn restricted_roots() -> Mfn {
    Mfn::new(RAM.get().frames + 2 * per_cpu::current().index() as u64)
}

/// Creates the machine's memory, once for each process.
pub(crate) fn init(frames: u64) {
    let count = usize::try_from(frames).expect("a sensible number of frames");
    let m2p = leak_zeroed::<u64>(count);
    let with_roots = count + 2 * MAX_CPUS;
    RAM.set(Ram {
        frames,
        memory: leak_zeroed::<[u8; PAGE_SIZE]>(with_roots),
        table: leak_zeroed::<[u8; FRAME_SLOT_SIZE]>(count),
        m2p,
    });
}

pub(crate) fn frame_count() -> u64 {
    RAM.try_get().map_or(0, |ram| ram.frames)
}

pub(crate) fn frame_table() -> *const u8 {
    core::ptr::with_exposed_provenance(RAM.get().table)
}

pub(crate) fn direct_map(mfn: Mfn) -> *mut u8 {
    let ram = RAM.get();
    assert!(mfn.get() < ram.frames + 2 * MAX_CPUS as u64, "{mfn:?} is beyond the simulated memory");
    core::ptr::with_exposed_provenance_mut(ram.memory + (mfn.get() as usize) * PAGE_SIZE)
}

pub(crate) fn m2p() -> *mut u64 {
    core::ptr::with_exposed_provenance_mut(RAM.get().m2p)
}

/// The simulated M2P is outside the simulated memory.
pub(crate) const fn m2p_frame() -> Option<Mfn> {
    None
}

/// Markers that the simulated walk recognises as Paravane's own entries; no frame has these
/// numbers.
pub(crate) const fn root_entry(slot: usize) -> u64 {
    0x000f_ffff_ffff_0001 - ((slot as u64) << 12)
}

pub(crate) const fn no_execute() -> bool {
    true
}

/// Copies `count` words with atomic accesses.
///
/// # Safety
/// Both ranges must be in the simulated memory and aligned.
pub(crate) unsafe fn copy_words(to: *mut u64, from: *const u64, count: usize) {
    for index in 0..count {
        // SAFETY: guaranteed by the caller.
        let from = unsafe { from.add(index) }.cast::<AtomicU64>();
        // SAFETY: guaranteed by the caller.
        let to = unsafe { to.add(index) }.cast::<AtomicU64>();
        // SAFETY: the word is valid, and simulated memory is accessed only atomically.
        let word = unsafe { &*from }.load(Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { &*to }.store(word, Ordering::Relaxed);
    }
}

/// Copies byte by byte with atomic accesses, so that concurrent accesses to guest memory are not a
/// data race for Miri and sanitisers.
///
/// # Safety
/// Both ranges must be valid; others may access the one in simulated memory atomically.
pub(crate) unsafe fn shared_copy(to: *mut u8, from: *const u8, length: usize) {
    for index in 0..length {
        // SAFETY: guaranteed by the caller.
        let from = unsafe { from.add(index) }.cast::<AtomicU8>();
        // SAFETY: guaranteed by the caller.
        let to = unsafe { to.add(index) }.cast::<AtomicU8>();
        // SAFETY: the byte is valid, and shared memory is accessed only atomically.
        let byte = unsafe { &*from }.load(Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { &*to }.store(byte, Ordering::Relaxed);
    }
}

/// There is no BIOS.
pub(crate) const fn keyboard_flags() -> Option<u8> {
    None
}
