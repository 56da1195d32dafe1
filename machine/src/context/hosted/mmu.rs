#![expect(unsafe_code, reason = "accesses simulated memory as the processor would")]
//! The walk that the processor would perform: from a root table through frames, by the bits in
//! memory, regardless of the frame table. A page-table write that would affect hardware therefore
//! takes effect here.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{GuestVirt, Mfn};
use crate::context::GuestContext;
use crate::pte::{LeafFlags, RawEntry};
use crate::ram;

/// The kind of access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// The frame at `address` in the context's current root, if ring 3 may access it in this way.
pub(crate) fn translate(context: &GuestContext, address: GuestVirt, access: Access) -> Option<Mfn> {
    let root = if context.in_kernel != 0 { &context.kernel_root } else { &context.user_root };
    walk(root.as_ref()?.mfn(), address, access)
}

/// Walks from `root`; sets accessed and dirty bits as the processor does.
pub fn walk(root: Mfn, address: GuestVirt, access: Access) -> Option<Mfn> {
    let mut table = root;
    for level in (1..=4).rev() {
        if table.get() >= ram::frame_count() {
            return None;
        }
        let slot = entry(table, address.index(level));
        let raw = RawEntry::new(slot.load(Ordering::Relaxed));
        let user = raw.flags().contains(LeafFlags::USER);
        if !raw.is_present() || !user || (access == Access::Write && !raw.is_writable()) {
            return None;
        }
        let is_written = level == 1 && access == Access::Write;
        let used = if is_written { LeafFlags::ACCESSED | LeafFlags::DIRTY } else { LeafFlags::ACCESSED };
        slot.fetch_or(used.bits(), Ordering::Relaxed);
        table = raw.frame();
    }
    (table.get() < ram::frame_count()).then_some(table)
}

fn entry(table: Mfn, index: usize) -> &'static AtomicU64 {
    // SAFETY: the frame is in the simulated memory, which is never freed; the index is below 512.
    unsafe { &*ram::direct_map(table).cast::<AtomicU64>().wrapping_add(index) }
}

/// The bits of an entry.
pub(crate) fn raw_entry(table: Mfn, index: usize) -> u64 {
    entry(table, index).load(Ordering::Relaxed)
}

/// Reads bytes of one frame.
pub(crate) fn read(frame: Mfn, offset: usize, to: &mut [u8]) {
    // SAFETY: the caller splits at page boundaries, so the range is in the frame.
    unsafe { ram::shared_copy(to.as_mut_ptr(), ram::direct_map(frame).wrapping_add(offset), to.len()) };
}

/// Writes bytes of one frame.
pub(crate) fn write(frame: Mfn, offset: usize, from: &[u8]) {
    // SAFETY: the caller splits at page boundaries, so the range is in the frame.
    unsafe { ram::shared_copy(ram::direct_map(frame).wrapping_add(offset), from.as_ptr(), from.len()) };
}
