#![expect(unsafe_code, reason = "takes over the references that the bits of entries own")]
//! A page-table entry as a value that owns the reference it stands for (FT-5).

use core::marker::PhantomData;
use core::mem;

use abi::errno::Errno;

use super::admission::Admission;
use super::reference::{self, FrameRef, L1, Level, TypedRef, Writable};
use super::transition::{AcquireError, Budget};
use crate::addr::Mfn;
use crate::hardware::{DeviceFrame, Hardware};
use crate::pte::{CACHE_ATTRIBUTES, LeafFlags, RawEntry};
use crate::{m2p, ram};

/// Bits that a table entry takes over from what the guest asked for.
const TABLE_KEPT: LeafFlags = LeafFlags::WRITABLE
    .union(LeafFlags::ACCESSED)
    .union(LeafFlags::DIRTY)
    .union(LeafFlags::AVAILABLE)
    .union(LeafFlags::NO_EXECUTE);

/// Bits that a leaf takes over. Global is not among them: translations must not outlive a switch
/// between guests.
const LEAF_KEPT: LeafFlags =
    LeafFlags::ACCESSED.union(LeafFlags::DIRTY).union(LeafFlags::AVAILABLE).union(LeafFlags::NO_EXECUTE);

/// A page-table entry of level `K`, with the reference that its bits stand for.
#[derive(Debug)]
pub struct Entry<K: Level> {
    raw: u64,
    level: PhantomData<K>,
}

impl<K: Level> Entry<K> {
    /// An entry that maps nothing. The other bits are the guest's to use (a swap entry, say); the
    /// present bit is cleared.
    pub const fn absent(raw: RawEntry) -> Self {
        // SAFETY: bits of an absent entry own nothing (FT-5).
        unsafe { Self::from_owned_bits(raw.get() & !LeafFlags::PRESENT.bits()) }
    }

    /// Takes over bits with the reference that they own: taken out of the owned part of a table, or
    /// made by [`Self::into_raw`].
    ///
    /// # Safety
    /// The bits must own what an entry of level `K` with these bits stands for (FT-5), and the
    /// caller must give that up: nobody else may take it over or release it.
    pub(super) const unsafe fn from_owned_bits(raw: u64) -> Self {
        Self { raw, level: PhantomData }
    }

    /// The bits, which now own the reference.
    pub(super) fn into_raw(self) -> u64 {
        let raw = self.raw;
        mem::forget(self);
        raw
    }

    /// The bits, for looking at.
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
    /// Maps a frame for reading; flags come from what the guest asked for.
    pub fn read_only(frame: FrameRef, wanted: RawEntry) -> Self {
        let bits = leaf_bits(frame.into_counted(), wanted, LeafFlags::empty());
        // SAFETY: the bits are those of a read-only leaf and own the reference that was just given
        // up.
        unsafe { Self::from_owned_bits(bits) }
    }

    /// Maps a frame for reading and writing.
    pub fn writable(frame: TypedRef<Writable>, wanted: RawEntry) -> Self {
        let bits = leaf_bits(frame.into_counted(), wanted, LeafFlags::WRITABLE);
        // SAFETY: the bits are those of a writable leaf and own the use that was just given up.
        unsafe { Self::from_owned_bits(bits) }
    }
}

impl Entry<L1> {
    /// Maps a frame of a device or of firmware, with the requested cache attributes; such an entry
    /// owns nothing. One that may only be read is mapped read-only, whatever was asked. `None` if
    /// the frame may not be mapped.
    pub fn device(hardware: &Hardware, wanted: RawEntry) -> Option<Self> {
        let mfn = wanted.frame();
        let access = match hardware.device_frame(mfn) {
            DeviceFrame::Refused => return None,
            DeviceFrame::ReadOnly => CACHE_ATTRIBUTES,
            DeviceFrame::Writable => CACHE_ATTRIBUTES | LeafFlags::WRITABLE,
        };
        let bits = leaf_bits(mfn, wanted, wanted.flags() & access);
        // SAFETY: the frame of a device is not in the frame table's RAM, so its entry owns nothing
        // (FT-5).
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
/// If they differ in frame or presence, or `wanted` may be written and `owned` not.
#[inline]
pub(super) fn leaf_with_flags(owned: RawEntry, wanted: RawEntry) -> u64 {
    assert!(owned.is_present() && owned.keeps_mapping(wanted), "{owned:x?} and {wanted:x?} map different things");
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

/// Checks an entry of the level above `Lower`; the bits returned own the reference to the lower
/// table.
pub(super) fn admit_table_entry<Lower: Level, A: Admission>(
    raw: RawEntry,
    admission: &mut A,
    budget: &mut Budget,
) -> Result<u64, AcquireError> {
    if !raw.is_present() {
        return Ok(raw.get());
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
            /// Admits an entry that a guest asks for: an absent one, or a link to a lower table,
            /// which is promoted if necessary.
            ///
            /// # Errors
            /// Of [`TypedRef::acquire`]; `EINVAL` for a large page.
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
    /// A read-only mapping of a frame of the M2P; `None` if the frame is none of these. The M2P
    /// stays for ever, so the entry owns nothing.
    pub fn machine_to_physical(raw: RawEntry) -> Option<Self> {
        m2p::contains(raw.frame()).then(|| {
            let bits = leaf_bits(raw.frame(), raw, LeafFlags::empty());
            // SAFETY: the frames of the M2P are Paravane's own and not in the frame table's RAM, so
            // an entry of one owns nothing (FT-5).
            unsafe { Self::from_owned_bits(bits) }
        })
    }

    /// Admits an entry that a guest asks for, if its policy does.
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
        // SAFETY: this value owns what its bits stand for (FT-5), and ends here.
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
