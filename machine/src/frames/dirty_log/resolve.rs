//! Page faults on mirror tables.

use abi::xen::DomainId;

use super::mirrors::{Exhausted, Index};
use super::{DirtyLog, with};
use crate::addr::{GuestVirt, Mfn};
use crate::counters::{self, Counter};
use crate::frames::transition::ENTRIES;
use crate::frames::{access, root_slots, slot};
use crate::integers::low_u16;
use crate::pte::{FRAME_MASK, LeafFlags, RawEntry};
use crate::tlb::root_copies;

/// An access that faulted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A read.
    Read,
    /// A write.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// What follows from a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The guest's tables permit the access, and the mirrors do now.
    Retry,
    /// The guest's tables do not permit the access.
    Denied {
        /// All entries on the way are present.
        present: bool,
    },
}

/// An entry on the way to a page.
#[derive(Clone, Copy)]
struct Step {
    table: Mfn,
    index: u16,
}

impl Step {
    /// The guest's entry.
    fn entry(&self) -> RawEntry {
        RawEntry::new(access::read_entry(self.table, self.index))
    }
}

/// The entry of a mirror for a guest's link to a table whose mirror is in `page`.
const fn link_to(entry: RawEntry, page: Mfn) -> u64 {
    entry.get() & !FRAME_MASK | page.address().get()
}

/// Gives an entry of the mirror of `level` in `page` its value. Copies of a root follow.
fn update(level: u8, step: &Step, page: Mfn, bits: u64) {
    if access::read_entry(page, step.index) != bits {
        access::write_entry(page, step.index, bits);
        if level == 4 {
            root_copies::note_addition(page);
        }
    }
}

/// Finds out whether the guest's tables permit an access that has faulted in ring 3 or on behalf of
/// the guest, and provides the mirrors for it. `root` is the root table of the vCPU's mode, and
/// held by it. Returns `None` if the domain has no log.
pub fn resolve(domain: DomainId, root: Mfn, address: GuestVirt, access: Access) -> Option<Resolution> {
    with(domain, |log| log.resolve(root, address, access))
}

impl DirtyLog {
    fn resolve(&mut self, root: Mfn, address: GuestVirt, access: Access) -> Resolution {
        counters::count(Counter::MirrorFaults);
        self.faults = self.faults.saturating_add(1);
        let mut way = [Step { table: root, index: 0 }; 4];
        let (mut table, mut writable, mut executable) = (root, true, true);
        for (level, step) in (1..=4).rev().zip(&mut way) {
            *step = Step { table, index: low_u16(address.index(level) as u64) };
            // The root is in use, and so are the tables below while the lock is held.
            let entry = RawEntry::new(access::read_entry(table, step.index));
            if !entry.is_present() {
                return Resolution::Denied { present: false };
            }
            writable &= entry.is_writable();
            executable &= !entry.flags().contains(LeafFlags::NO_EXECUTE);
            table = entry.frame();
        }
        if access == Access::Write && !writable || access == Access::Fetch && !executable {
            return Resolution::Denied { present: true };
        }
        self.set_accessed_dirty(&way, access);
        if access == Access::Write {
            // Marked before the mirror permits the write (MT-2).
            self.mark_frame(table);
        }
        while self.provide(&way).is_err() {
            self.mirrors.discard_all();
        }
        Resolution::Retry
    }

    /// Sets the bits in the guest's entries that the processor would have set.
    fn set_accessed_dirty(&mut self, way: &[Step; 4], access: Access) {
        for (level, step) in (1..=4).rev().zip(way) {
            let used = match access {
                Access::Write if level == 1 => LeafFlags::ACCESSED | LeafFlags::DIRTY,
                _ => LeafFlags::ACCESSED,
            };
            if access::set_bits(step.table, step.index, used.bits()) & used.bits() != used.bits() {
                self.mark_frame(step.table);
            }
        }
    }

    /// Makes mirrors for the tables on the way, with the entries on it. Those have their accessed
    /// bits.
    fn provide(&mut self, way: &[Step; 4]) -> Result<(), Exhausted> {
        let mut above: Option<(u8, &Step, Mfn)> = None;
        for (level, step) in (1..=4).rev().zip(way) {
            let mirror = self.find_or_add(step.table, level)?;
            let page = self.mirrors.page(mirror);
            // The entry above has a mirror to lead to now.
            if let Some((level, step, upper)) = above.replace((level, step, page)) {
                update(level, step, upper, link_to(step.entry(), page));
            }
        }
        if let Some((level, step, page)) = above {
            update(level, step, page, self.permitted(level, step.index, step.entry()));
        }
        Ok(())
    }

    /// The mirror of a table.
    fn find_or_add(&mut self, table: Mfn, level: u8) -> Result<Index, Exhausted> {
        if let Some(found) = self.mirrors.find(table) {
            return Ok(found);
        }
        let mirror = self.mirrors.add(table, level)?;
        let page = self.mirrors.page(mirror);
        let mut filled = 0;
        while let Some(index) = access::next_used(table, filled) {
            (filled..index).for_each(|empty| access::write_entry(page, empty, 0));
            let bits = self.permitted(level, index, RawEntry::new(access::read_entry(table, index)));
            access::write_entry(page, index, bits);
            filled = index + 1;
        }
        (filled..ENTRIES).for_each(|empty| access::write_entry(page, empty, 0));
        Ok(mirror)
    }

    /// What the mirror of a table of `level` may have for the guest's entry at `index` (MT-1,
    /// MT-2).
    pub(super) fn permitted(&self, level: u8, index: u16, entry: RawEntry) -> u64 {
        if level == 4 && root_slots::is_hypervisor_slot(index) {
            return entry.get();
        }
        if !entry.is_present() || !entry.flags().contains(LeafFlags::ACCESSED) {
            return 0;
        }
        if level != 1 {
            let lower = self.mirrors.find(entry.frame());
            return lower.map_or(0, |lower| link_to(entry, self.mirrors.page(lower)));
        }
        if entry.is_writable() && !(entry.flags().contains(LeafFlags::DIRTY) && self.may_write(entry.frame())) {
            return entry.get() & !LeafFlags::WRITABLE.bits();
        }
        entry.get()
    }

    /// Whether a page may be written without a fault.
    fn may_write(&self, mfn: Mfn) -> bool {
        let page = slot::ram_slot(mfn).and_then(|slot| self.number(slot));
        page.is_none_or(|page| self.marks.is_set(page))
    }

    /// Makes mirrors of the root tables of a vCPU and records them as loaded.
    pub(super) fn load_roots(&mut self, vcpu: usize, roots: [Option<Mfn>; 2]) -> [Option<Mfn>; 2] {
        self.mirrors.unload(vcpu);
        loop {
            let mut mirrors = [None; 2];
            let made = mirrors.iter_mut().zip(roots).try_for_each(|(mirror, root)| {
                *mirror = root.map(|root| self.find_or_add(root, 4)).transpose()?;
                Ok::<(), Exhausted>(())
            });
            if made.is_ok() {
                self.mirrors.load(vcpu, mirrors);
                return mirrors.map(|mirror| mirror.map(|mirror| self.mirrors.page(mirror)));
            }
            self.mirrors.discard_all();
        }
    }
}
