#![expect(unsafe_code, reason = "converts between entries and the references that their bits own")]
//! A page-table entry as a value that owns the reference named by its bits (FT-5).

use core::marker::PhantomData;
use core::mem;

use abi::errno::Errno;

use super::admission::Admission;
use super::reference::{self, FrameRef, L1, Level, TypedRef, Writable};
use super::transition::{AcquireError, Budget};
use crate::addr::{Mfn, PAGE_SHIFT};
use crate::hardware::{DeviceFrame, Hardware};
use crate::pte::{CACHE_ATTRIBUTES, LeafFlags, RawEntry};
use crate::{m2p, processor, ram};

/// Bits of the guest's value that are kept in a table entry.
const TABLE_KEPT: LeafFlags = LeafFlags::WRITABLE
    .union(LeafFlags::ACCESSED)
    .union(LeafFlags::DIRTY)
    .union(LeafFlags::AVAILABLE)
    .union(LeafFlags::NO_EXECUTE);

/// Bits of the guest's value that are kept in a leaf. The global bit is not kept: translations must
/// not survive a switch between guests.
const LEAF_KEPT: LeafFlags =
    LeafFlags::ACCESSED.union(LeafFlags::DIRTY).union(LeafFlags::AVAILABLE).union(LeafFlags::NO_EXECUTE);

/// A page-table entry of level `K`, with the reference named by its bits.
#[derive(Debug)]
pub struct Entry<K: Level> {
    raw: u64,
    level: PhantomData<K>,
}

impl<K: Level> Entry<K> {
    /// An entry without any bits.
    pub const fn empty() -> Self {
        // SAFETY: an absent entry owns nothing (FT-5).
        unsafe { Self::from_owned_bits(0) }
    }

    /// An entry that is not present. The guest may use its other bits, for example for a swap
    /// entry, if the policy admits them.
    ///
    /// # Errors
    /// Those of the policy.
    ///
    /// # Panics
    /// If the entry is present.
    pub fn absent<A: Admission>(raw: RawEntry, admission: &mut A) -> Result<Self, Errno> {
        assert!(!raw.is_present(), "{raw:x?} maps something");
        if names_memory(raw) {
            admission.absent_naming_memory(raw)?;
        }
        // SAFETY: an absent entry owns nothing (FT-5).
        Ok(unsafe { Self::from_owned_bits(raw.get()) })
    }

    /// Takes ownership of the reference of an entry's bits. They come from the owned part of a
    /// table, or from [`Self::into_raw`].
    ///
    /// # Safety
    /// The bits must own what an entry of level `K` with these bits owns (FT-5). The caller must
    /// give up this ownership: nothing else may use or release it.
    pub(super) const unsafe fn from_owned_bits(raw: u64) -> Self {
        Self { raw, level: PhantomData }
    }

    /// Converts the entry to its bits, which own the reference.
    pub(super) fn into_raw(self) -> u64 {
        let raw = self.raw;
        mem::forget(self);
        raw
    }

    /// The bits, without ownership.
    pub const fn raw(&self) -> RawEntry {
        RawEntry::new(self.raw)
    }

    /// The same entry with the accessed and dirty bits of `seen` added.
    #[must_use]
    pub const fn with_accessed_dirty(mut self, seen: RawEntry) -> Self {
        if self.raw().is_present() {
            self.raw = self.raw().with_accessed_dirty(seen).get();
        }
        self
    }
}

#[inline]
fn leaf_bits(mfn: Mfn, wanted: RawEntry, access: LeafFlags) -> u64 {
    let mut flags = wanted.flags().intersection(LEAF_KEPT).union(access);
    if !ram::no_execute() {
        flags.remove(LeafFlags::NO_EXECUTE);
    }
    mfn.address().get() | flags.union(LeafFlags::PRESENT).union(LeafFlags::USER).bits()
}

impl Entry<L1> {
    /// Maps a frame read-only, with the flags of the guest's value.
    pub fn read_only(frame: FrameRef, wanted: RawEntry) -> Self {
        let bits = leaf_bits(frame.into_counted(), wanted, LeafFlags::empty());
        // SAFETY: the bits are those of a read-only leaf and own the reference that was just
        // converted.
        unsafe { Self::from_owned_bits(bits) }
    }

    /// Maps a frame writable, with the flags of the guest's value.
    pub fn writable(frame: TypedRef<Writable>, wanted: RawEntry) -> Self {
        let bits = leaf_bits(frame.into_counted(), wanted, LeafFlags::WRITABLE);
        // SAFETY: the bits are those of a writable leaf and own the use that was just converted.
        unsafe { Self::from_owned_bits(bits) }
    }
}

impl Entry<L1> {
    /// Maps a frame of a device or of firmware, with the requested cache attributes. The entry owns
    /// nothing. A frame that is read-only for the hardware domain is mapped read-only whatever was
    /// requested. Returns `None` if the frame may not be mapped.
    pub fn device(hardware: &Hardware, wanted: RawEntry) -> Option<Self> {
        let mfn = wanted.frame();
        let access = match hardware.device_frame(mfn) {
            DeviceFrame::Refused => return None,
            DeviceFrame::ReadOnly => CACHE_ATTRIBUTES,
            DeviceFrame::Writable => CACHE_ATTRIBUTES | LeafFlags::WRITABLE,
        };
        let bits = leaf_bits(mfn, wanted, wanted.flags() & access);
        // SAFETY: a device frame is not RAM of the frame table, so its entry owns nothing (FT-5).
        Some(unsafe { Self::from_owned_bits(bits) })
    }

    /// The same entry with the requested cache attributes, which drivers use for memory that they
    /// share with devices.
    #[must_use]
    pub fn with_cache_attributes(mut self, _: &Hardware, wanted: RawEntry) -> Self {
        if self.raw().is_present() {
            self.raw |= wanted.flags().intersection(CACHE_ATTRIBUTES).bits();
        }
        self
    }
}

/// The bits of a leaf that maps the same frame as `owned`, with the flags of `wanted`.
///
/// # Panics
/// If they differ in frame or presence, or `wanted` is writable and `owned` is not.
#[inline]
pub(super) fn leaf_with_flags(owned: RawEntry, wanted: RawEntry) -> u64 {
    assert!(owned.is_present() && owned.keeps_mapping(wanted), "{owned:x?} and {wanted:x?} map different frames");
    leaf_bits(owned.frame(), wanted, wanted.flags().intersection(LeafFlags::WRITABLE))
}

/// Bits of a table entry of level `Lower + 1` that links `mfn`.
fn table_bits(mfn: Mfn, wanted: RawEntry) -> u64 {
    let mut flags = wanted.flags().intersection(TABLE_KEPT);
    if !ram::no_execute() {
        flags.remove(LeafFlags::NO_EXECUTE);
    }
    mfn.address().get() | flags.union(LeafFlags::PRESENT).union(LeafFlags::USER).bits()
}

/// Whether a processor that ignores the present bit (L1TF) could read memory through the entry.
/// Frame 0 does not count: its contents are the firmware's, and most absent entries name it.
pub fn names_memory(raw: RawEntry) -> bool {
    let named = raw.frame().address().get();
    if named == 0 {
        return false;
    }
    let seen = named & ((1 << processor::features().physical_bits) - 1);
    seen != 0 && seen >> PAGE_SHIFT < ram::frame_count()
}

/// Validates an entry of the level above `Lower`. The returned bits own the reference to the lower
/// table.
pub(super) fn admit_table_entry<Lower: Level, A: Admission>(
    raw: RawEntry,
    admission: &mut A,
    budget: &mut Budget,
) -> Result<u64, AcquireError> {
    if !raw.is_present() {
        return Ok(Entry::<Lower>::absent(raw, admission)?.into_raw());
    }
    if raw.flags().contains(LeafFlags::PAT_OR_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let lower = TypedRef::<Lower>::acquire(admission.table(raw.frame())?, admission, budget)?;
    Ok(table_bits(lower.into_counted(), raw))
}

macro_rules! table_entries {
    ($($level:ident -> $lower:ident),*) => {$(
        impl Entry<reference::$level> {
            /// Admits a guest's entry: an absent one, or a link to a lower table, which is promoted
            /// if necessary.
            ///
            /// # Errors
            /// Those of [`TypedRef::acquire`]; `EINVAL` for a large page.
            pub fn admit<A: Admission>(
                raw: RawEntry,
                admission: &mut A,
                budget: &mut Budget,
            ) -> Result<Self, AcquireError> {
                let bits = admit_table_entry::<reference::$lower, A>(raw, admission, budget)?;
                // SAFETY: the bits own the reference to the lower table that was just acquired, or
                // are absent.
                Ok(unsafe { Self::from_owned_bits(bits) })
            }
        }
    )*};
}

table_entries!(L2 -> L1, L3 -> L2, L4 -> L3);

impl Entry<L1> {
    /// A read-only mapping of a frame of the M2P; `None` if it is not such a frame. The M2P exists
    /// forever, so the entry owns nothing.
    pub fn machine_to_physical(raw: RawEntry) -> Option<Self> {
        m2p::contains(raw.frame()).then(|| {
            let bits = leaf_bits(raw.frame(), raw, LeafFlags::empty());
            // SAFETY: the frames of the M2P belong to Paravane and are not RAM of the frame table,
            // so an entry of one owns nothing (FT-5).
            unsafe { Self::from_owned_bits(bits) }
        })
    }

    /// Admits a guest's entry if the policy does.
    ///
    /// # Errors
    /// Those of the policy.
    pub fn admit<A: Admission>(raw: RawEntry, admission: &mut A, budget: &mut Budget) -> Result<Self, AcquireError> {
        admission.leaf(raw, budget)
    }
}

impl<K: Level> Drop for Entry<K> {
    #[inline]
    fn drop(&mut self) {
        let raw = self.raw();
        if !raw.is_present() {
            return;
        }
        // SAFETY: this value owns the reference named by its bits (FT-5), and ends here.
        let Some(frame) = (unsafe { FrameRef::from_entry(raw.frame()) }) else { return };
        match K::LEVEL {
            // SAFETY: a writable leaf owns a use as `Writable` (FT-5).
            1 if raw.is_writable() => drop(unsafe { TypedRef::<Writable>::from_counted(frame) }),
            1 => drop(frame),
            // SAFETY: an entry of level 2 owns a use as L1 (FT-5).
            2 => drop(unsafe { TypedRef::<L1>::from_counted(frame) }),
            // SAFETY: an entry of level 3 owns a use as L2 (FT-5).
            3 => drop(unsafe { TypedRef::<reference::L2>::from_counted(frame) }),
            // SAFETY: an entry of level 4 owns a use as L3 (FT-5).
            _ => drop(unsafe { TypedRef::<reference::L3>::from_counted(frame) }),
        }
    }
}
