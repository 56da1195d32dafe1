#![expect(unsafe_code, reason = "forms pointers into the direct map and copies shared memory")]
//! Paravane's access to machine memory: the frame table, the direct map, the M2P.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{MachineAddr, Mfn};
use crate::once::Once;
pub(crate) use crate::processor::no_execute;
use crate::{layout, per_cpu};

/// The results of boot.
pub(crate) struct Ram {
    /// The M2P in the direct map.
    pub(crate) m2p: u64,
    /// The root-table entries of slots 256 to 271.
    pub(crate) root_entries: [u64; layout::SLOTS],
}

static RAM: Once<Ram> = Once::new();

/// Number of frames that the frame table covers; all of them are in the direct map. Separate from
/// `RAM`, since it is read for each reference.
static FRAME_COUNT: AtomicU64 = AtomicU64::new(0);

/// Publishes the results of boot; the frame table covers `frame_count` frames.
pub(crate) fn init(ram: Ram, frame_count: u64) {
    RAM.set(ram);
    FRAME_COUNT.store(frame_count, Ordering::Release);
}

/// The number of frames that the frame table covers; zero until it exists.
#[inline]
pub(crate) fn frame_count() -> u64 {
    FRAME_COUNT.load(Ordering::Relaxed)
}

/// The first slot of the frame table.
pub(crate) const fn frame_table() -> *const u8 {
    layout::FRAME_TABLE_BASE as *const u8
}

/// The first byte of a frame in the direct map.
pub(crate) const fn direct_map(mfn: Mfn) -> *mut u8 {
    layout::direct(mfn.address().get()) as *mut u8
}

/// The M2P, writable by Paravane. Guests see the same memory read-only at another address.
pub(crate) fn m2p() -> *mut u64 {
    RAM.get().m2p as *mut u64
}

/// The first of the contiguous frames that contain the M2P.
pub(crate) fn m2p_frame() -> Option<Mfn> {
    RAM.try_get().map(|ram| Mfn::new((ram.m2p - layout::DIRECT_MAP_BASE) >> 12))
}

/// The first of this CPU's two restricted roots.
pub(crate) fn restricted_roots() -> Mfn {
    // SAFETY: boot has filled in the field, and nothing changes it.
    Mfn::containing(MachineAddr::new(unsafe { (*per_cpu::own_info()).restricted_roots }))
}

/// The root-table entry of one of Paravane's slots.
#[expect(clippy::indexing_slicing, reason = "slots are named by Paravane's own code")]
pub(crate) fn root_entry(slot: usize) -> u64 {
    RAM.get().root_entries[slot]
}

/// Copies `count` words that others may write concurrently, in one instruction.
///
/// # Safety
/// Both ranges must be mapped, and the target must be writable and not borrowed by other Rust code.
pub(crate) unsafe fn copy_words(to: *mut u64, from: *const u64, count: usize) {
    // SAFETY: the caller guarantees the ranges; the direction flag is always clear in Paravane.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") count => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies memory that others may write concurrently. It is one instruction, so that the compiler
/// assumes nothing about the data.
///
/// # Safety
/// Both ranges must be mapped, and the target must be writable and not borrowed by other Rust code.
pub(crate) unsafe fn shared_copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller guarantees the ranges; the direction flag is always clear in Paravane.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") length => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// The state of the shift keys in the BIOS data area.
pub(crate) fn keyboard_flags() -> Option<u8> {
    // SAFETY: the first page is in the direct map and is never allocated.
    let byte = unsafe { (layout::direct(0x417) as *const u8).read_volatile() };
    Some(byte)
}
