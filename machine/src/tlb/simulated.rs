//! The simulated TLB of each hosted CPU.
//!
//! It keeps translations until the CPU flushes them, however the tables change in the meantime. It
//! also keeps the links to lower tables that a walk has followed, as the processor's
//! paging-structure caches do. The rules are those of Intel SDM volume 3, 4.10:
//!
//! - Loading a root drops all but global translations, since no PCID is in use.
//! - INVLPG drops the translations of one page, and all links.
//! - The processor may walk the tables and cache what it finds at any time, without an access. The
//!   hosted processor does so at random moments (`context::hosted::mmu`).
//! - It may drop what it caches at any time. The simulated TLB drops a random entry if it is full.
//!
//! A translation permits writes if all entries on its path do and the leaf has its dirty bit. The
//! first write through another one is a new walk, as the processor must set the bit.
//!
//! Instruction fetches, and translations of Paravane's own memory, are not simulated.
//!
//! TC-1 to TC-4 state which translations a CPU cannot have. Here they are checked, on what each CPU
//! does have:
//!
//! - When a frame has been flushed for a new owner, no CPU has a translation of it or a link to it,
//!   or has loaded it as a root.
//! - When a frame has been flushed for a change of kind, no CPU has a translation that permits
//!   writes to it if it was writable memory, and no CPU has a link to it or has loaded it as a root
//!   if it was a table.
//! - Each access through a translation, cached or not, is one that the frame table permits at that
//!   moment (`frames::reach`).
//!
//! The TLB of a CPU is locked during a walk and the access that depends on it. A flush on behalf of
//! another CPU takes the lock, so it waits for the access, as a real shootdown waits for the end of
//! the other CPU's instruction.

use core::sync::atomic::{AtomicU64, Ordering};
use std::format;
use std::string::String;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use abi::xen::DomainId;
use arrayvec::ArrayVec;

use crate::addr::{CpuId, GuestVirt, MAX_CPUS, Mfn, PAGE_SHIFT, PerCpu};
use crate::per_cpu;
use crate::speculation::MaskedIndex;

/// Number of translations and links that a TLB keeps.
const CAPACITY: usize = 192;

/// Counts fills and flushes of all CPUs: the time in messages.
static MOMENT: AtomicU64 = AtomicU64::new(0);

fn next_moment() -> u64 {
    MOMENT.fetch_add(1, Ordering::Relaxed) + 1
}

static TLBS: PerCpu<Mutex<Tlb>> = PerCpu::new([const { Mutex::new(Tlb::new()) }; MAX_CPUS]);

/// What an entry translates: the addresses with the same index in the table of `level + 1` and in
/// all tables above it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    /// The level of the table to which it leads; 0 for a page.
    pub(crate) level: u8,
    prefix: u64,
}

impl Place {
    /// The place of an address.
    pub(crate) const fn of(level: u8, address: GuestVirt) -> Self {
        Self { level, prefix: address.get() >> (PAGE_SHIFT + 9 * level as u32) }
    }

    /// The first address.
    pub(crate) const fn address(self) -> GuestVirt {
        GuestVirt::new(self.prefix << (PAGE_SHIFT + 9 * self.level as u32))
    }
}

/// A cached translation of a page, or a cached link to a lower table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cached {
    /// The page's frame, or the table.
    pub(crate) frame: Mfn,
    /// For a page: writes need no walk. For a link: no entry so far forbids them.
    pub(crate) writable: bool,
    /// It survives the loading of a root.
    pub(crate) global: bool,
    made: u64,
}

impl Cached {
    /// What a walk has just found.
    pub(crate) fn new(frame: Mfn, writable: bool, global: bool) -> Self {
        Self { frame, writable, global, made: next_moment() }
    }
}

/// The root table that a CPU has loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Root {
    /// The table.
    pub(crate) table: Mfn,
    /// The domain that runs.
    pub(crate) holder: DomainId,
    /// Identifies the vCPU: several may be active on one thread in a test.
    pub(crate) context: usize,
    /// The table is one of this CPU's restricted roots.
    pub(crate) restricted: bool,
}

/// One CPU's TLB.
#[derive(Debug)]
pub(crate) struct Tlb {
    root: Option<Root>,
    /// In ascending order of places. It is no allocation, since those of a hypercall are counted.
    cached: ArrayVec<(Place, Cached), CAPACITY>,
    flushed: (u64, &'static str),
    random: u64,
}

impl Tlb {
    const fn new() -> Self {
        Self { root: None, cached: ArrayVec::new_const(), flushed: (0, "its start"), random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// The root that the CPU has loaded, if it is a guest's.
    pub(crate) const fn root(&self) -> Option<Root> {
        self.root
    }

    /// Loads a guest's root, or Paravane's own.
    pub(crate) fn load(&mut self, root: Option<Root>, why: &'static str) {
        self.root = root;
        self.drop_all(why);
    }

    /// Drops all but global entries.
    pub(crate) fn drop_all(&mut self, why: &'static str) {
        self.cached.retain(|(_, cached)| cached.global);
        self.flushed = (next_moment(), why);
    }

    /// Drops the translation of one page, and all links.
    pub(crate) fn drop_page(&mut self, address: GuestVirt) {
        let page = Place::of(0, address);
        self.cached.retain(|(place, _)| place.level == 0 && *place != page);
    }

    /// The cached translation or link of a place.
    pub(crate) fn find(&self, place: Place) -> Option<Cached> {
        let index = self.cached.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.cached.masked(index).map(|(_, cached)| *cached)
    }

    /// All translations and links.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Place, Cached)> {
        self.cached.iter().copied()
    }

    /// Keeps what a walk has found.
    pub(crate) fn fill(&mut self, place: Place, found: Cached) {
        let mut index = match self.cached.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => {
                self.cached.remove(index);
                index
            }
            Err(index) => index,
        };
        if self.cached.is_full() {
            let victim = self.random(CAPACITY);
            self.cached.remove(victim);
            index -= usize::from(victim < index);
        }
        self.cached.insert(index, (place, found));
    }

    /// A pseudo-random number below `bound`.
    pub(crate) const fn random(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as usize % bound
    }

    /// Describes an entry of this CPU and its age.
    pub(crate) fn describe(&self, cpu: CpuId, place: Place, cached: Cached) -> String {
        let what = match (place.level, cached.writable) {
            (0, true) => "a writable translation",
            (0, false) => "a read-only translation",
            _ => "a link",
        };
        let to = if place.level == 0 { String::new() } else { format!(" to a table of level {}", place.level) };
        let (flushed, why) = self.flushed;
        format!(
            "CPU {} with {:x?} has {what} of {:#x}{to} in frame {}, made at moment {}; it flushed last at moment \
             {flushed}, by {why}; now is {}",
            cpu.number(),
            self.root,
            place.address().get(),
            cached.frame,
            cached.made,
            MOMENT.load(Ordering::Relaxed)
        )
    }
}

/// The TLB of a CPU. While the guard lives, a flush of the CPU waits.
pub(crate) fn of(cpu: CpuId) -> MutexGuard<'static, Tlb> {
    // A violation panics while it holds the lock. Other threads then find others.
    TLBS[cpu].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The TLB of this CPU.
pub(crate) fn here() -> MutexGuard<'static, Tlb> {
    of(per_cpu::current())
}

/// Makes what the TLBs cache and drop at random repeat from here on.
pub fn seed(seed: u64) {
    for (number, tlb) in (1..).zip(TLBS.iter()) {
        // Never zero, where the generator would stay.
        tlb.lock().unwrap_or_else(PoisonError::into_inner).random = seed << 8 | number;
    }
}

/// A translation that a CPU has cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Translation {
    /// The CPU.
    pub cpu: CpuId,
    /// The domain that the CPU runs.
    pub holder: DomainId,
    /// The frame.
    pub frame: Mfn,
    /// It permits writes.
    pub writable: bool,
}

/// The translations that all CPUs have cached.
pub fn translations() -> Vec<Translation> {
    let mut all = Vec::new();
    for cpu in per_cpu::all_online() {
        let tlb = of(cpu);
        let Some(Root { holder, .. }) = tlb.root else { continue };
        let pages = tlb.entries().filter(|(place, _)| place.level == 0);
        all.extend(pages.map(|(_, Cached { frame, writable, .. })| Translation { cpu, holder, frame, writable }));
    }
    all
}

/// Whether a CPU has cached a link to the table.
#[cfg(test)]
pub(crate) fn has_link(table: Mfn) -> bool {
    find_leftover(table, Leftover::Table).is_some()
}

/// What must not be left of a frame after a flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leftover {
    /// Any translation or link.
    Any,
    /// A translation that permits writes.
    Writable,
    /// A link, or a loaded root.
    Table,
}

/// What some CPU has left of a frame that has been flushed for a new use.
pub(crate) fn find_leftover(frame: Mfn, leftover: Leftover) -> Option<String> {
    per_cpu::all_online().find_map(|cpu| {
        let tlb = of(cpu);
        let is_harmful = |place: Place, cached: Cached| match leftover {
            Leftover::Any => true,
            Leftover::Writable => place.level == 0 && cached.writable,
            Leftover::Table => place.level != 0,
        };
        if leftover != Leftover::Writable
            && let Some(root) = tlb.root.filter(|root| root.table == frame)
        {
            return Some(format!("CPU {} has loaded {root:x?}", cpu.number()));
        }
        let (place, cached) =
            tlb.entries().find(|(place, cached)| cached.frame == frame && is_harmful(*place, *cached))?;
        Some(tlb.describe(cpu, place, cached))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: GuestVirt = GuestVirt::new(0x7f_1234_5000);

    fn filled() -> Tlb {
        let mut tlb = Tlb::new();
        for level in 0..4 {
            tlb.fill(Place::of(level, ADDRESS), Cached::new(Mfn::new(level.into()), true, false));
        }
        tlb.fill(Place::of(0, ADDRESS.offset(0x1000)), Cached::new(Mfn::new(9), true, true));
        tlb
    }

    #[test]
    fn a_root_load_drops_all_but_global_translations() {
        let mut tlb = filled();
        tlb.load(None, "a test");
        assert_eq!(tlb.entries().map(|(_, cached)| cached.frame).collect::<Vec<_>>(), [Mfn::new(9)]);
    }

    #[test]
    fn a_flush_of_one_page_drops_its_translation_and_the_links() {
        let mut tlb = filled();
        tlb.drop_page(ADDRESS.offset(0xfff));
        assert_eq!(tlb.entries().map(|(_, cached)| cached.frame).collect::<Vec<_>>(), [Mfn::new(9)]);
    }

    #[test]
    fn a_full_tlb_drops_one_entry() {
        let mut tlb = Tlb::new();
        for page in 0..CAPACITY as u64 + 10 {
            let place = Place::of(0, GuestVirt::new(page << PAGE_SHIFT));
            tlb.fill(place, Cached::new(Mfn::new(page), false, false));
            assert!(tlb.find(place).is_some());
        }
        assert_eq!(tlb.entries().count(), CAPACITY);
    }
}
