//! Page tables in use, as arrays of entries that can be read, replaced and exchanged.

use super::access;
use super::reference::{L1, L4, Level, TypedRef};
use super::transition::ENTRIES;
use crate::paging::{self, Entry, RawEntry};

/// A page table in use.
pub type TableRef<K> = TypedRef<K>;

/// Why an entry was not replaced.
#[derive(Debug)]
pub enum ReplaceError<K: Level> {
    /// The slot is Paravane's own.
    Reserved(Entry<K>),
    /// The entry has changed; this is what stands there now, and the entry that was to go in.
    Changed(RawEntry, Entry<K>),
}

impl TypedRef<L1> {
    /// Changes the flags of a leaf that keeps its frame and its writability, so that what it owns stays the same.
    ///
    /// # Errors
    /// If the entry is not `expected` any more: what stands there now.
    ///
    /// # Panics
    /// If `wanted` differs from `expected` in more than flags.
    pub fn change_flags(&self, index: u16, expected: RawEntry, wanted: RawEntry) -> Result<(), RawEntry> {
        let bits = paging::leaf_with_flags(expected, wanted);
        access::exchange_entry(self.mfn(), index, expected.get(), bits).map(|_| ()).map_err(RawEntry::new)
    }
}

impl<K: Level> TypedRef<K> {
    /// The bits of an entry as they are now; the processor may set accessed and dirty at any time.
    ///
    /// # Panics
    /// If `index` is not below 512.
    pub fn entry(&self, index: u16) -> RawEntry {
        RawEntry::new(access::read_entry(self.mfn(), index))
    }

    /// Puts an entry in and hands back the one that stood there, with all that it owns.
    ///
    /// # Errors
    /// `Reserved` if the slot is not the guest's.
    ///
    /// # Panics
    /// If `index` is not below 512.
    pub fn replace(&self, index: u16, entry: Entry<K>) -> Result<Entry<K>, ReplaceError<K>> {
        assert!(index < ENTRIES, "a page table has 512 entries");
        if K::LEVEL == 4 && paging::is_hypervisor_slot(index) {
            return Err(ReplaceError::Reserved(entry));
        }
        Ok(Entry::from_owned_bits(access::swap_entry(self.mfn(), index, entry.into_raw())))
    }

    /// Puts an entry in if `expected` still stands there.
    ///
    /// # Errors
    /// `Changed` if it doesn't, `Reserved` if the slot is not the guest's.
    ///
    /// # Panics
    /// If `index` is not below 512.
    pub fn exchange(
        &self,
        index: u16,
        expected: RawEntry,
        entry: Entry<K>,
    ) -> Result<Entry<K>, ReplaceError<K>> {
        assert!(index < ENTRIES, "a page table has 512 entries");
        if K::LEVEL == 4 && paging::is_hypervisor_slot(index) {
            return Err(ReplaceError::Reserved(entry));
        }
        let bits = entry.into_raw();
        match access::exchange_entry(self.mfn(), index, expected.get(), bits) {
            Ok(old) => Ok(Entry::from_owned_bits(old)),
            Err(found) => Err(ReplaceError::Changed(RawEntry::new(found), Entry::from_owned_bits(bits))),
        }
    }
}

impl TypedRef<L4> {
    /// Shows the M2P through this root table, or hides it. Translations that a pCPU has cached stay until it loads a root.
    pub fn show_m2p(&self, show: bool) {
        let entry = if show { paging::hypervisor_entry(paging::M2P_SLOT) } else { 0 };
        access::write_entry(self.mfn(), paging::M2P_SLOT, entry);
    }
}
