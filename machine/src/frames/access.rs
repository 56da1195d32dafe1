#![expect(unsafe_code, reason = "reads and writes frame contents through the direct map")]
//! The contents of frames, through the direct map. Guests may write to their frames at any time, so
//! contents are never borrowed: they are copied, or accessed atomically.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::dirty_log;
use super::reference::{FrameRef, TypedRef, Writable};
use super::transition::ENTRIES;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::integers::{low_u16, saturating_u32};
use crate::ram;
use crate::speculation;

fn entry(mfn: Mfn, index: u16) -> &'static AtomicU64 {
    assert!(index < ENTRIES, "a page has 512 entries");
    // SAFETY: the direct map permanently covers every frame of the frame table. The offset is
    // inside the frame. Memory that others may write is accessed only atomically or by the copies
    // below.
    unsafe { &*ram::direct_map(mfn).cast::<AtomicU64>().wrapping_add(usize::from(index)) }
}

pub(super) fn read_entry(mfn: Mfn, index: u16) -> u64 {
    entry(mfn, index).load(Ordering::Relaxed)
}

/// Number of entries that are checked together: a cache line.
const LINE: u16 = 8;

/// Whether the `LINE` entries from `index` on, a multiple of `LINE`, are all zero.
fn is_empty_line(mfn: Mfn, index: u16) -> bool {
    assert!(index < ENTRIES && index.is_multiple_of(LINE), "a line of entries lies within a page");
    // SAFETY: as in `entry`; eight entries from a multiple of eight are inside the frame.
    let line =
        unsafe { &*ram::direct_map(mfn).cast::<AtomicU64>().wrapping_add(usize::from(index)).cast::<[AtomicU64; 8]>() };
    line.iter().fold(0, |all, entry| all | entry.load(Ordering::Relaxed)) == 0
}

/// The first entry from `start` on that is not zero.
pub(super) fn next_used(mfn: Mfn, start: u16) -> Option<u16> {
    let mut index = start;
    while index < ENTRIES {
        if index.is_multiple_of(LINE) && is_empty_line(mfn, index) {
            index += LINE;
        } else if read_entry(mfn, index) != 0 {
            return Some(index);
        } else {
            index += 1;
        }
    }
    None
}

/// The last entry below `end` that is not zero.
pub(super) fn last_used(mfn: Mfn, end: u16) -> Option<u16> {
    let mut end = end;
    while end != 0 {
        if end.is_multiple_of(LINE) && is_empty_line(mfn, end - LINE) {
            end -= LINE;
            continue;
        }
        end -= 1;
        if read_entry(mfn, end) != 0 {
            return Some(end);
        }
    }
    None
}

pub(super) fn write_entry(mfn: Mfn, index: u16, value: u64) {
    entry(mfn, index).store(value, Ordering::Release);
}

/// Sets bits of an entry and returns the former value.
pub(super) fn set_bits(mfn: Mfn, index: u16, bits: u64) -> u64 {
    entry(mfn, index).fetch_or(bits, Ordering::AcqRel)
}

pub(super) fn swap_entry(mfn: Mfn, index: u16, value: u64) -> u64 {
    entry(mfn, index).swap(value, Ordering::AcqRel)
}

pub(super) fn exchange_entry(mfn: Mfn, index: u16, from: u64, to: u64) -> Result<u64, u64> {
    entry(mfn, index).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
}

/// Clears a frame.
///
/// # Safety
/// Nothing else may access the frame: it has been taken off the free lists, and no translation of
/// it is cached.
pub(super) unsafe fn zero(mfn: Mfn) {
    // SAFETY: the caller guarantees exclusive access; the direct map covers the frame.
    unsafe { ram::direct_map(mfn).write_bytes(0, PAGE_SIZE) };
}

/// Returns the range masked: on a mispredicted path, on which it is not within the frame, it is
/// empty.
fn check_range(offset: usize, length: usize) -> (usize, usize) {
    assert!(offset <= PAGE_SIZE && length <= PAGE_SIZE - offset, "access beyond a frame: {offset} + {length}");
    let offset = speculation::at_most(offset, PAGE_SIZE);
    (offset, speculation::at_most(length, PAGE_SIZE - offset))
}

/// An offset in a page; its lower bits on a mispredicted path, on which it is beyond the page.
#[inline]
fn in_page(offset: usize) -> usize {
    speculation::low_bits::<{ saturating_u32(PAGE_SIZE - 1) }>(offset)
}

/// The index of an entry. A caller may have it from a guest; it is masked here.
fn in_table(index: u16) -> u16 {
    assert!(index < ENTRIES, "a page has 512 entries");
    low_u16(speculation::low_bits::<{ ENTRIES as u32 - 1 }>(index.into()) as u64)
}

impl FrameRef {
    /// Copies bytes of the frame out. Each byte that a guest writes concurrently may have its old
    /// or its new value.
    ///
    /// # Panics
    /// If the range is not within the frame.
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) {
        let (offset, length) = check_range(offset, to.len());
        // SAFETY: the range was checked; the reference keeps the frame; `shared_copy` tolerates
        // concurrent writers.
        unsafe { ram::shared_copy(to.as_mut_ptr(), ram::direct_map(self.mfn()).wrapping_add(offset), length) };
    }

    /// One aligned 64-bit word of the frame.
    ///
    /// # Panics
    /// If `index` is not below 512.
    pub fn read_u64(&self, index: u16) -> u64 {
        read_entry(self.mfn(), in_table(index))
    }
}

impl TypedRef<Writable> {
    /// Copies bytes into the frame.
    ///
    /// # Panics
    /// If the range is not within the frame.
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        let (offset, length) = check_range(offset, from.len());
        // SAFETY: the range was checked; the use as `Writable` means that the frame contains no
        // table or descriptors; `shared_copy` tolerates concurrent readers and writers.
        unsafe { ram::shared_copy(ram::direct_map(self.mfn()).wrapping_add(offset), from.as_ptr(), length) };
        dirty_log::mark(self.frame().slot());
    }

    /// Copies another frame's contents into this one.
    pub fn copy_frame(&self, from: &FrameRef) {
        // SAFETY: both references keep their frames; `shared_copy` tolerates concurrent access;
        // this frame is in use as `Writable`.
        unsafe { ram::shared_copy(ram::direct_map(self.mfn()), ram::direct_map(from.mfn()), PAGE_SIZE) };
        dirty_log::mark(self.frame().slot());
    }

    /// Fills the frame with zeros.
    pub fn clear(&self) {
        for index in 0..ENTRIES {
            write_entry(self.mfn(), index, 0);
        }
        dirty_log::mark(self.frame().slot());
    }

    /// Stores one aligned 64-bit word.
    ///
    /// # Panics
    /// If `index` is not below 512.
    pub fn write_u64(&self, index: u16, value: u64) {
        write_entry(self.mfn(), in_table(index), value);
        dirty_log::mark(self.frame().slot());
    }
}

/// A frame that both Paravane and a guest write: `shared_info`, `vcpu_info`, rings. All accesses
/// are atomic, since the guest may change it at any time.
#[derive(Debug)]
pub struct SharedPage {
    page: TypedRef<Writable>,
}

macro_rules! atomic_accessor {
    ($name:ident, $atomic:ident, $size:literal) => {
        #[doc = concat!("The `", stringify!($atomic), "` at `offset`.\n\n# Panics\nIf it is misaligned or not completely in the page.")]
        pub fn $name(&self, offset: usize) -> &$atomic {
            assert!(offset < PAGE_SIZE, "access beyond a frame: {offset} + {}", $size);
            assert!(offset.is_multiple_of($size), "misaligned access to a shared page at {offset}");
            let offset = in_page(offset);
            // SAFETY: range and alignment were checked. The page stays `Writable`, hence no table,
            // while `self` lives. Shared memory is accessed only atomically or by copies that
            // tolerate concurrent writers.
            unsafe { &*ram::direct_map(self.page.mfn()).wrapping_add(offset).cast::<$atomic>() }
        }
    };
}

impl SharedPage {
    /// Shares a page that its guest may write.
    pub fn new(page: TypedRef<Writable>) -> Self {
        page.frame().slot().mark_written_by_host();
        Self { page }
    }

    /// A second reference to the same page.
    pub fn again(&self) -> Self {
        Self { page: self.page.again() }
    }

    /// The frame.
    pub const fn frame(&self) -> &FrameRef {
        self.page.frame()
    }

    /// The frame in its use as writable memory.
    pub const fn writable(&self) -> &TypedRef<Writable> {
        &self.page
    }

    atomic_accessor!(atomic_u8, AtomicU8, 1);
    atomic_accessor!(atomic_u16, AtomicU16, 2);
    atomic_accessor!(atomic_u32, AtomicU32, 4);
    atomic_accessor!(atomic_u64, AtomicU64, 8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_entries_are_found_as_by_looking_at_each() {
        crate::hosted::start(4);
        let mfn = Mfn::new(1);
        let mut seed = 1u64;
        for round in (0..200).step_by(if cfg!(miri) { 100 } else { 1 }) {
            for index in 0..ENTRIES {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let used = seed >> 33 & 0xff < round;
                write_entry(mfn, index, if used { seed | 1 << (seed >> 58) } else { 0 });
            }
            for at in (0..=ENTRIES).step_by(if cfg!(miri) { 73 } else { 1 }) {
                let used = |index: &u16| read_entry(mfn, *index) != 0;
                assert_eq!(next_used(mfn, at), (at..ENTRIES).find(used));
                assert_eq!(last_used(mfn, at), (0..at).rev().find(used));
            }
        }
    }
}
