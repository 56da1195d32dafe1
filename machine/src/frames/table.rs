#![expect(unsafe_code, reason = "takes ownership of entries of tables")]
//! Page tables in use, as arrays of entries that can be read, replaced and exchanged.

use core::sync::atomic::Ordering;

use super::entry::{self, Entry};
use super::owner::note_maps_others;
use super::reference::{FrameRef, L1, L4, Level, TypedRef, release_use};
use super::transition::ENTRIES;
use super::{access, dirty_log, root_slots, slot};
use crate::addr::{GuestVirt, Mfn};
use crate::integers::low_u16;
use crate::pte::RawEntry;
use crate::tlb::root_copies;

/// The index of `address`'s entry in a table of `level`; nine bits.
const fn index(address: GuestVirt, level: u32) -> u16 {
    low_u16(address.index(level) as u64)
}

/// Marks the frame of an entry as shared if it belongs to another domain, before the entry is
/// stored in a table (TC-3).
///
/// # Panics
/// If the entry links a table of another domain, which no policy allows.
#[inline]
pub(super) fn note_mapping(table: &FrameRef, level: u8, entry: RawEntry) {
    if entry.is_present()
        && let Some(mapped) = slot::slot(entry.frame())
        && mapped.owner.load(Ordering::Relaxed) != table.slot().owner.load(Ordering::Relaxed)
    {
        note_foreign(table, level, entry);
    }
}

/// See [`note_mapping`]. The mapped frame may be outside of RAM, and then has no owner.
#[cold]
#[inline(never)]
fn note_foreign(table: &FrameRef, level: u8, entry: RawEntry) {
    let Some(mapped) = slot::ram_slot(entry.frame()) else { return };
    assert!(level == 1, "{:?} would be linked by a table of {:?}", entry.frame(), table.owner());
    note_maps_others(table.owner());
    mapped.mark_shared(entry.is_writable());
}

/// A page table in use.
pub type TableRef<K> = TypedRef<K>;

/// The reason why an entry was not replaced.
#[derive(Debug)]
pub enum ReplaceError<K: Level> {
    /// The slot belongs to Paravane.
    Reserved(Entry<K>),
    /// The entry has changed. Contains its current bits, and the entry that was to be stored.
    Changed(RawEntry, Entry<K>),
}

impl TypedRef<L1> {
    /// Changes the flags of a leaf that keeps its frame. It owns the same references as before,
    /// except that the use as writable memory ends if the leaf becomes read-only.
    ///
    /// # Errors
    /// The current bits, if the entry is no longer `expected`.
    ///
    /// # Panics
    /// If `wanted` maps another frame than `expected`, or is writable and `expected` is not.
    #[inline]
    pub fn change_flags(&self, index: u16, expected: RawEntry, wanted: RawEntry) -> Result<(), RawEntry> {
        let bits = entry::leaf_with_flags(expected, wanted);
        let exchange = || {
            let store = || access::exchange_entry(self.mfn(), index, expected.get(), bits).map_err(RawEntry::new);
            dirty_log::around_store(self.frame(), 1, index, store)
        };
        let ends_a_use = expected.is_writable() && !wanted.is_writable();
        let Some(slot) = ends_a_use.then(|| slot::ram_slot(expected.frame())).flatten() else {
            return exchange().map(|_| ());
        };
        // After the exchange, the entry's existence reference belongs to the read-only mapping
        // (FT-5). Another CPU may drop it, and free the frame, before the use has ended. So another
        // reference is held until then.
        let Some(frame) = FrameRef::get_held(slot) else { return Err(self.entry(index)) };
        exchange()?;
        release_use(&frame);
        Ok(())
    }
}

impl<K: Level> TypedRef<K> {
    /// After a store to a root table: makes it known to CPUs that use a copy. The former entry's
    /// references must be held until then.
    #[inline]
    fn note_store(&self) {
        if K::LEVEL == 4 {
            root_copies::note_store(self.mfn());
        }
    }

    /// The current bits of an entry. The processor may set accessed and dirty at any time.
    ///
    /// # Panics
    /// If `index` is not below 512.
    #[inline]
    pub fn entry(&self, index: u16) -> RawEntry {
        RawEntry::new(access::read_entry(self.mfn(), index))
    }

    /// Stores an entry and returns the former one with the references that it owns.
    ///
    /// # Errors
    /// `Reserved` if the slot does not belong to the guest.
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
        let store = || access::swap_entry(self.mfn(), index, entry.into_raw());
        let old = dirty_log::around_store(self.frame(), K::LEVEL, index, store);
        self.note_store();
        // SAFETY: a table in use owns all its entries (FT-5, FT-6), except Paravane's slots. The
        // exchange removed the old bits atomically, so nothing else owns them.
        Ok(unsafe { Entry::from_owned_bits(old) })
    }

    /// Stores an entry if the current one is `expected`, and returns the former one.
    ///
    /// # Errors
    /// `Changed` if it is not, `Reserved` if the slot does not belong to the guest.
    ///
    /// # Panics
    /// If `index` is not below 512.
    #[inline]
    pub fn exchange(&self, index: u16, expected: RawEntry, entry: Entry<K>) -> Result<Entry<K>, ReplaceError<K>> {
        assert!(index < ENTRIES, "a page table has 512 entries");
        if K::LEVEL == 4 && root_slots::is_hypervisor_slot(index) {
            return Err(ReplaceError::Reserved(entry));
        }
        // The mapping of `expected`, with its write permission, was recorded when it was stored.
        if !expected.keeps_mapping(entry.raw()) {
            note_mapping(self.frame(), K::LEVEL, entry.raw());
        }
        let bits = entry.into_raw();
        let store = || access::exchange_entry(self.mfn(), index, expected.get(), bits);
        match dirty_log::around_store(self.frame(), K::LEVEL, index, store) {
            Ok(old) => {
                self.note_store();
                // SAFETY: as in `replace`.
                Ok(unsafe { Entry::from_owned_bits(old) })
            }
            // SAFETY: the bits were not stored in the table, so they still own the entry's
            // reference.
            Err(found) => Err(ReplaceError::Changed(RawEntry::new(found), unsafe { Entry::from_owned_bits(bits) })),
        }
    }
}

/// The location of a translation. No reference is held, so it is only a hint: another CPU may
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
    /// Finds the entry that maps `address`, as the hardware does.
    #[inline]
    pub fn look_up(&self, address: GuestVirt) -> Option<Leaf> {
        let mut table = self.mfn();
        for level in (2..=4).rev() {
            let entry = RawEntry::new(access::read_entry(table, index(address, level)));
            // A table that was just released may contain anything, even the number of a device's
            // frame.
            if !entry.is_present() {
                return None;
            }
            // The number of the slot, since that of the entry is not masked.
            table = slot::ram_slot(entry.frame())?.mfn();
        }
        let index = index(address, 1);
        Some(Leaf { table, index, entry: RawEntry::new(access::read_entry(table, index)) })
    }

    /// Shows the M2P in this root table, or hides it. Cached translations stay until the pCPU loads
    /// a root.
    pub fn show_m2p(&self, show: bool) {
        let entry = if show { root_slots::hypervisor_entry(root_slots::M2P_SLOT) } else { 0 };
        let store = || access::write_entry(self.mfn(), root_slots::M2P_SLOT, entry);
        dirty_log::around_store(self.frame(), 4, root_slots::M2P_SLOT, store);
        self.note_store();
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

    /// Admits all entries, for frames of any owner.
    struct Everything;

    impl Admission for Everything {
        fn leaf(&mut self, raw: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
            Ok(Entry::read_only(FrameRef::get_any(raw.frame()).ok_or(Errno::EINVAL)?, raw))
        }

        fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
            FrameRef::get_any(mfn).ok_or(Errno::EINVAL)
        }

        fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
            Ok(())
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
    fn a_frame_mapped_by_another_domain_is_marked_until_it_is_freed() {
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
        drop(l1.exchange(1, RawEntry::new(0), map(&own)).expect("the entry is empty"));
        drop(l1.exchange(1, l1.entry(1), map(&exchanged)).expect("the entry is current"));
        assert!(!is_marked(&own) && is_marked(&exchanged), "mapped by an exchange");
        drop(l1.replace(0, Entry::empty()));
        assert!(is_marked(&foreign), "a pCPU may have it in its TLB");
        let mfn = foreign.mfn();
        drop(foreign);
        let again = core::iter::repeat_with(|| frame(2)).take(64).find(|frame| frame.mfn() == mfn);
        assert!(again.is_some_and(|frame| !is_marked(&frame)), "it is allocated again");
    }

    #[test]
    fn a_change_of_kind_clears_the_mark_for_writing() {
        crate::hosted::start(64);
        let marks = |frame: &FrameRef| (frame.slot().usage().shared, frame.slot().usage().shared_writable);
        let (contents, foreign) = (frame(1), frame(2));
        let l1 = table::<L1>(&contents);
        let writable = || {
            let page = TypedRef::acquire(foreign.again(), &mut NoEntries, &mut Budget::new(10)).unwrap();
            Entry::writable(page, mapping(&foreign))
        };
        let read_only = || Everything.leaf(mapping(&foreign), &mut Budget::new(10)).unwrap();
        let absent = || Entry::empty();
        let become_table_and_memory = || {
            drop(table::<L1>(&foreign));
            assert!(crate::frames::Teardown::of(DomainId(2)).unwrap().advance(&mut Budget::new(10_000)));
            drop(TypedRef::<Writable>::acquire(foreign.again(), &mut NoEntries, &mut Budget::new(100)).unwrap());
        };
        assert_eq!(marks(&foreign), (false, false));
        drop(l1.replace(0, read_only()));
        assert_eq!(marks(&foreign), (true, false), "it may be read");
        drop(l1.exchange(0, l1.entry(0), writable()).unwrap());
        assert_eq!(marks(&foreign), (true, true), "the readable mapping is writable now");
        drop(l1.replace(0, absent()));
        assert_eq!(marks(&foreign), (true, true), "a pCPU may have it in its TLB");
        drop(writable());
        assert_eq!(marks(&foreign), (true, true), "another use of the same kind flushes nothing");
        become_table_and_memory();
        assert_eq!(marks(&foreign), (true, false), "no pCPU has it in its TLB");
        become_table_and_memory();
        drop(l1.replace(0, writable()));
        assert_eq!(marks(&foreign), (true, true), "mapped once more");
        drop(l1.replace(0, absent()));
    }

    #[test]
    #[should_panic(expected = "would be linked by a table of")]
    fn a_table_of_another_domain_is_not_linked() {
        crate::hosted::start(64);
        let (lower, upper) = (frame(2), frame(1));
        access::write_entry(upper.mfn(), 0, mapping(&lower).get());
        table::<L2>(&upper);
    }
}
