#![expect(unsafe_code, reason = "takes entries out of tables")]
//! Page tables in use, as arrays of entries that can be read, replaced and exchanged.

use core::sync::atomic::Ordering;

use super::entry::{self, Entry};
use super::owner::note_maps_others;
use super::reference::{FrameRef, L1, L4, Level, TypedRef, release_use};
use super::transition::ENTRIES;
use super::{access, root_slots, slot};
use crate::addr::{GuestVirt, Mfn};
use crate::integers::low_u16;
use crate::pte::RawEntry;

/// The entry of a table of `level` that `address` goes through; nine bits.
const fn index(address: GuestVirt, level: u32) -> u16 {
    low_u16(address.index(level) as u64)
}

/// An entry is about to stand in a table: what it maps of another domain's is marked first (TC-3).
///
/// # Panics
/// If it links a table of another domain's, which no policy allows.
#[inline]
pub(super) fn note_mapping(table: &FrameRef, level: u8, entry: RawEntry) {
    if entry.is_present()
        && let Some(mapped) = slot::slot(entry.frame())
        && mapped.owner.load(Ordering::Relaxed) != table.slot().owner.load(Ordering::Relaxed)
    {
        note_foreign(table, level, entry);
    }
}

/// See [`note_mapping`]: the mapped frame may not be RAM, and has no owner then.
#[cold]
#[inline(never)]
fn note_foreign(table: &FrameRef, level: u8, entry: RawEntry) {
    let Some(mapped) = slot::ram_slot(entry.frame()) else { return };
    assert!(level == 1, "{:?} is to be linked by a table of {:?}", entry.frame(), table.owner());
    note_maps_others(table.owner());
    mapped.mark_shared(entry.is_writable());
}

/// A page table in use.
pub type TableRef<K> = TypedRef<K>;

/// Why an entry was not replaced.
#[derive(Debug)]
pub enum ReplaceError<K: Level> {
    /// The slot is Paravane's own.
    Reserved(Entry<K>),
    /// The entry has changed: its bits now, and the entry that was to be stored.
    Changed(RawEntry, Entry<K>),
}

impl TypedRef<L1> {
    /// Changes the flags of a leaf that keeps its frame. It owns the same as before, except for the
    /// use as writable memory if it becomes read-only.
    ///
    /// # Errors
    /// If the entry is not `expected` any more: its bits now.
    ///
    /// # Panics
    /// If `wanted` maps another frame than `expected`, or is writable where that is not.
    #[inline]
    pub fn change_flags(&self, index: u16, expected: RawEntry, wanted: RawEntry) -> Result<(), RawEntry> {
        let bits = entry::leaf_with_flags(expected, wanted);
        let exchange = || access::exchange_entry(self.mfn(), index, expected.get(), bits).map_err(RawEntry::new);
        let ends_a_use = expected.is_writable() && !wanted.is_writable();
        let Some(slot) = ends_a_use.then(|| slot::ram_slot(expected.frame())).flatten() else {
            return exchange().map(|_| ());
        };
        // From the exchange on, the entry's existence reference is the read-only mapping's (FT-5).
        // Another CPU may drop it, and the frame with it, before the use has ended, so one more is
        // held until then.
        let Some(frame) = FrameRef::get_held(slot) else { return Err(self.entry(index)) };
        exchange()?;
        release_use(&frame);
        Ok(())
    }
}

impl<K: Level> TypedRef<K> {
    /// The bits of an entry as they are now; the processor may set accessed and dirty at any time.
    ///
    /// # Panics
    /// If `index` is not below 512.
    #[inline]
    pub fn entry(&self, index: u16) -> RawEntry {
        RawEntry::new(access::read_entry(self.mfn(), index))
    }

    /// Stores an entry and returns the former one, with all that it owns.
    ///
    /// # Errors
    /// `Reserved` if the slot is not the guest's.
    ///
    /// # Panics
    /// If `index` is not below 512.
    #[inline]
    pub fn replace(&self, index: u16, entry: Entry<K>) -> Result<Entry<K>, ReplaceError<K>> {
        assert!(index < ENTRIES, "a page table has 512 entries");
        if K::LEVEL == 4 && root_slots::is_hypervisor_slot(index) {
            return Err(ReplaceError::Reserved(entry));
        }
        note_mapping(self.frame(), K::LEVEL, entry.raw());
        let old = access::swap_entry(self.mfn(), index, entry.into_raw());
        // SAFETY: a table in use owns all its entries (FT-5, FT-6), Paravane's own slots excepted.
        // The exchange took the old bits out at once, so nobody else does.
        Ok(unsafe { Entry::from_owned_bits(old) })
    }

    /// Stores an entry if the present one is still `expected`, and returns that.
    ///
    /// # Errors
    /// `Changed` if it doesn't, `Reserved` if the slot is not the guest's.
    ///
    /// # Panics
    /// If `index` is not below 512.
    #[inline]
    pub fn exchange(&self, index: u16, expected: RawEntry, entry: Entry<K>) -> Result<Entry<K>, ReplaceError<K>> {
        assert!(index < ENTRIES, "a page table has 512 entries");
        if K::LEVEL == 4 && root_slots::is_hypervisor_slot(index) {
            return Err(ReplaceError::Reserved(entry));
        }
        // The present entry was noted when it was stored, with its right to write.
        if !expected.keeps_mapping(entry.raw()) {
            note_mapping(self.frame(), K::LEVEL, entry.raw());
        }
        let bits = entry.into_raw();
        match access::exchange_entry(self.mfn(), index, expected.get(), bits) {
            // SAFETY: as in `replace`.
            Ok(old) => Ok(unsafe { Entry::from_owned_bits(old) }),
            // SAFETY: the bits did not get into the table, and are still the entry's that was given
            // up.
            Err(found) => Err(ReplaceError::Changed(RawEntry::new(found), unsafe { Entry::from_owned_bits(bits) })),
        }
    }
}

/// The place of a translation. No reference is held, so it is only an allegation: another CPU may
/// change it at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The L1 table.
    pub table: Mfn,
    /// The entry's index in it.
    pub index: u16,
    /// The entry.
    pub entry: RawEntry,
}

impl TypedRef<L4> {
    /// Finds the entry that maps `address`, the way the hardware does.
    #[inline]
    pub fn look_up(&self, address: GuestVirt) -> Option<Leaf> {
        let mut table = self.mfn();
        for level in (2..=4).rev() {
            let entry = RawEntry::new(access::read_entry(table, index(address, level)));
            // A table that was just released may contain anything by now, even the frame of a
            // device.
            if !entry.is_present() || !slot::is_ram(entry.frame()) {
                return None;
            }
            table = entry.frame();
        }
        let index = index(address, 1);
        Some(Leaf { table, index, entry: RawEntry::new(access::read_entry(table, index)) })
    }

    /// Shows the M2P through this root table, or hides it. Cached translations stay until the pCPU
    /// loads a root.
    pub fn show_m2p(&self, show: bool) {
        let entry = if show { root_slots::hypervisor_entry(root_slots::M2P_SLOT) } else { 0 };
        access::write_entry(self.mfn(), root_slots::M2P_SLOT, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{AcquireError, Budget, L2, Writable, allocate};
    use crate::frames::{Admission, NoEntries};
    use crate::pte::LeafFlags;
    use abi::errno::Errno;
    use abi::xen::DomainId;

    /// Allows everything, of any owner.
    struct Everything;

    impl Admission for Everything {
        fn leaf(&mut self, raw: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
            Ok(Entry::read_only(FrameRef::get_any(raw.frame()).ok_or(Errno::EINVAL)?, raw))
        }

        fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
            FrameRef::get_any(mfn).ok_or(Errno::EINVAL)
        }
    }

    fn frame(owner: u16) -> FrameRef {
        allocate(DomainId(owner)).expect("a free frame").into_reference()
    }

    fn table<K: Level>(frame: &FrameRef) -> TypedRef<K> {
        TypedRef::acquire(frame.again(), &mut Everything, &mut Budget::new(1000)).expect("a table that is in order")
    }

    fn mapping(frame: &FrameRef) -> RawEntry {
        RawEntry::new(frame.mfn().address().get() | LeafFlags::PRESENT.bits())
    }

    #[test]
    fn a_frame_is_marked_when_another_domain_maps_it_until_it_is_given_away() {
        crate::hosted::start(64);
        let is_marked = |frame: &FrameRef| frame.slot().usage().shared;
        let (own, foreign, validated, exchanged) = (frame(1), frame(2), frame(2), frame(2));
        let map = |frame| Everything.leaf(mapping(frame), &mut Budget::new(10)).expect("everything is allowed");
        let contents = frame(1);
        access::write_entry(contents.mfn(), 7, mapping(&validated).get());
        let l1 = table::<L1>(&contents);
        assert!(is_marked(&validated), "mapped when the table is validated");
        for frame in [&own, &foreign] {
            drop(l1.replace(0, map(frame)).expect("a slot of the guest's"));
        }
        assert!(!is_marked(&own) && is_marked(&foreign), "mapped by an update");
        drop(l1.exchange(1, RawEntry::new(0), map(&own)).expect("nothing stood there"));
        drop(l1.exchange(1, l1.entry(1), map(&exchanged)).expect("it stood there"));
        assert!(!is_marked(&own) && is_marked(&exchanged), "mapped by an exchange");
        drop(l1.replace(0, Entry::absent(RawEntry::new(0))));
        assert!(is_marked(&foreign), "a pCPU may have it in its TLB");
        let mfn = foreign.mfn();
        drop(foreign);
        let again = core::iter::repeat_with(|| frame(2)).take(64).find(|frame| frame.mfn() == mfn);
        assert!(again.is_some_and(|frame| !is_marked(&frame)), "it is given to an owner anew");
    }

    #[test]
    fn a_change_of_kind_takes_the_mark_for_writing_back() {
        crate::hosted::start(64);
        let marks = |frame: &FrameRef| (frame.slot().usage().shared, frame.slot().usage().shared_writable);
        let (contents, foreign) = (frame(1), frame(2));
        let l1 = table::<L1>(&contents);
        let writable = || {
            let page = TypedRef::acquire(foreign.again(), &mut NoEntries, &mut Budget::new(10)).unwrap();
            Entry::writable(page, mapping(&foreign))
        };
        let read_only = || Everything.leaf(mapping(&foreign), &mut Budget::new(10)).unwrap();
        let absent = || Entry::absent(RawEntry::new(0));
        let become_table_and_memory = || {
            drop(table::<L1>(&foreign));
            assert!(crate::frames::Teardown::of(DomainId(2)).unwrap().advance(&mut Budget::new(10_000)));
            drop(TypedRef::<Writable>::acquire(foreign.again(), &mut NoEntries, &mut Budget::new(100)).unwrap());
        };
        assert_eq!(marks(&foreign), (false, false));
        drop(l1.replace(0, read_only()));
        assert_eq!(marks(&foreign), (true, false), "it may be read");
        drop(l1.exchange(0, l1.entry(0), writable()).unwrap());
        assert_eq!(marks(&foreign), (true, true), "what could be read can be written now");
        drop(l1.replace(0, absent()));
        assert_eq!(marks(&foreign), (true, true), "a pCPU may have it in its TLB");
        drop(writable());
        assert_eq!(marks(&foreign), (true, true), "another use of the same kind flushes nothing");
        become_table_and_memory();
        assert_eq!(marks(&foreign), (true, false), "no pCPU has");
        become_table_and_memory();
        drop(l1.replace(0, writable()));
        assert_eq!(marks(&foreign), (true, true), "mapped once more");
        drop(l1.replace(0, absent()));
    }

    #[test]
    #[should_panic(expected = "is to be linked by a table of")]
    fn a_table_of_another_domain_is_not_linked() {
        crate::hosted::start(64);
        let (lower, upper) = (frame(2), frame(1));
        access::write_entry(upper.mfn(), 0, mapping(&lower).get());
        table::<L2>(&upper);
    }
}
