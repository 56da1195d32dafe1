//! The mirror tables of a domain: the pool of their frames, and the map from tables to mirrors.
//!
//! The map is a hash table with chains. Each link has the generation in which it was made, so that
//! all mirrors are discarded by starting another generation.

use abi::xen::DomainId;
use alloc::vec::Vec;

use super::COST_OF_FRAME;
use super::chunks::Chunks;
use crate::addr::{CpuId, CpuSet, Mfn, PAGE_SIZE};
use crate::counters::{self, Counter};
use crate::frames::access;
use crate::frames::buffer::Buffer;
use crate::frames::list::link;
use crate::frames::reference::NoMemory;
use crate::frames::root_slots;
use crate::frames::transition::{Budget, ENTRIES};
use crate::integers::to_usize;
use crate::per_cpu;
use crate::speculation::MaskedIndex;
use crate::tlb::clock::{self, Stamp};
use crate::tlb::{flush_cpus, root_copies};

/// The index of a mirror in the pool.
pub(super) type Index = u32;

const NONE: Index = u32::MAX;

/// A frame of the pool. It is a mirror while its generation is the current one.
struct Mirror {
    page: Buffer,
    /// The table that it mirrors.
    table: u32,
    level: u8,
    generation: u32,
    /// The next in its chain, or in the list of free frames.
    next: Index,
    /// TLB clock when it was last a mirror.
    stamp: Stamp,
}

/// The first mirror of a chain.
#[derive(Clone, Copy)]
struct Head {
    generation: u32,
    first: Index,
}

/// A vCPU that is loaded into a CPU, with the mirrors of its root tables.
struct Loaded {
    vcpu: usize,
    cpu: CpuId,
    roots: [Option<Index>; 2],
}

/// All frames of the pool are mirrors.
#[derive(Debug)]
pub(super) struct Exhausted;

pub(super) struct Mirrors {
    domain: DomainId,
    pool: Chunks<Mirror>,
    heads: Chunks<Head>,
    /// Starts at 1. A domain ends 2^32 rounds never.
    generation: u32,
    /// Frames from here on have not been used in this generation, unless they are loaded roots.
    unused: Index,
    /// Frames whose table was torn down in this generation.
    free: Index,
    used: u64,
    loaded: Vec<Loaded>,
}

impl Mirrors {
    pub(super) fn new(domain: DomainId, vcpus: usize) -> Self {
        Self {
            domain,
            pool: Chunks::new(),
            heads: Chunks::new(),
            generation: 1,
            unused: 0,
            free: NONE,
            used: 0,
            loaded: Vec::with_capacity(vcpus),
        }
    }

    /// Adds frames until there are `frames`, or the budget is exhausted. Returns whether there are.
    pub(super) fn grow(&mut self, frames: u32, budget: &mut Budget) -> Result<bool, NoMemory> {
        while self.pool.len() < to_usize(frames.into()) {
            if budget.is_exhausted() {
                return Ok(false);
            }
            budget.spend(COST_OF_FRAME);
            let page = Buffer::new(PAGE_SIZE).ok_or(NoMemory)?;
            self.pool.push(Mirror { page, table: 0, level: 0, generation: 0, next: NONE, stamp: clock::now() });
            self.heads.push(Head { generation: 0, first: NONE });
        }
        Ok(true)
    }

    /// Frees frames until none is left, or the budget is exhausted. Returns whether none is left.
    /// The log has ended, so no CPU uses a mirror.
    pub(super) fn shrink(&mut self, budget: &mut Budget) -> bool {
        while self.pool.len() != 0 {
            if budget.is_exhausted() {
                return false;
            }
            budget.spend(COST_OF_FRAME);
            drop(self.pool.pop());
        }
        true
    }

    pub(super) fn frames(&self) -> u64 {
        self.pool.len() as u64
    }

    pub(super) const fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn none_is_loaded(&self) -> bool {
        self.loaded.is_empty()
    }

    fn mirror(&self, index: Index) -> &Mirror {
        self.pool.get(to_usize(index.into())).expect("an index of the pool")
    }

    fn mirror_mut(&mut self, index: Index) -> &mut Mirror {
        self.pool.get_mut(to_usize(index.into())).expect("an index of the pool")
    }

    /// The frame of a mirror.
    #[inline]
    pub(super) fn page(&self, index: Index) -> Mfn {
        self.mirror(index).page.first_frame()
    }

    /// The place of a table's chain. Tables are often neighbours, so the number itself is a good
    /// hash.
    fn chain(&self, table: Mfn) -> usize {
        to_usize(table.get()) % self.heads.len().max(1)
    }

    fn first(&self, table: Mfn) -> Index {
        let head = self.heads.get(self.chain(table));
        head.filter(|head| head.generation == self.generation).map_or(NONE, |head| head.first)
    }

    fn set_first(&mut self, table: Mfn, first: Index) {
        let (chain, generation) = (self.chain(table), self.generation);
        if let Some(head) = self.heads.get_mut(chain) {
            *head = Head { generation, first };
        }
    }

    /// The mirror of a table.
    #[inline]
    pub(super) fn find(&self, table: Mfn) -> Option<Index> {
        let mut index = self.first(table);
        while index != NONE {
            let mirror = self.mirror(index);
            if u64::from(mirror.table) == table.get() {
                return Some(index);
            }
            index = mirror.next;
        }
        None
    }

    /// Makes a frame of the pool the mirror of a table that has none. Its entries are those of its
    /// former use, which no CPU walks.
    ///
    /// # Errors
    /// If there is no unused frame. [`Self::discard_all`] makes room.
    pub(super) fn add(&mut self, table: Mfn, level: u8) -> Result<Index, Exhausted> {
        let index = self.take_unused()?;
        // The frame may have been a mirror of another level (MT-6).
        let stamp = self.mirror(index).stamp;
        clock::ensure_flushed_since(stamp, |holder| holder == self.domain);
        #[cfg(not(target_os = "none"))]
        crate::frames::reach::check_unwalked(self.page(index));
        self.insert(index, table, level);
        self.used += 1;
        counters::count(Counter::MirrorsFilled);
        Ok(index)
    }

    fn insert(&mut self, index: Index, table: Mfn, level: u8) {
        let (next, generation) = (self.first(table), self.generation);
        let mirror = self.mirror_mut(index);
        (mirror.table, mirror.level, mirror.next, mirror.generation) = (link(table), level, next, generation);
        self.set_first(table, index);
    }

    fn take_unused(&mut self) -> Result<Index, Exhausted> {
        while to_usize(self.unused.into()) < self.pool.len() {
            let index = self.unused;
            self.unused += 1;
            if self.mirror(index).generation != self.generation {
                return Ok(index);
            }
        }
        if self.free == NONE {
            return Err(Exhausted);
        }
        let index = self.free;
        self.free = self.mirror(index).next;
        Ok(index)
    }

    /// Discards the mirror of a table, to which no mirror in use has a link.
    pub(super) fn forget(&mut self, table: Mfn) {
        let Some(index) = self.find(table) else { return };
        let next = self.mirror(index).next;
        let mut before = self.first(table);
        if before == index {
            self.set_first(table, next);
        } else {
            while self.mirror(before).next != index {
                before = self.mirror(before).next;
            }
            self.mirror_mut(before).next = next;
        }
        let free = self.free;
        let mirror = self.mirror_mut(index);
        (mirror.generation, mirror.next, mirror.stamp) = (0, free, clock::now());
        self.free = index;
        self.used -= 1;
    }

    /// Discards all mirrors. Those of loaded root tables stay, without links. When this returns, no
    /// CPU has a translation that a discarded mirror gave.
    pub(super) fn discard_all(&mut self) {
        counters::count(Counter::MirrorsDiscarded);
        let former = self.generation;
        self.generation += 1;
        (self.unused, self.free, self.used) = (0, NONE, 0);
        let mut cpus = CpuSet::EMPTY;
        for number in 0..self.loaded.len() {
            let Some(loaded) = self.loaded.masked(number) else { break };
            cpus.insert(loaded.cpu);
            for index in loaded.roots.into_iter().flatten() {
                let (table, page, made) = {
                    let mirror = self.mirror(index);
                    (Mfn::new(mirror.table.into()), mirror.page.first_frame(), mirror.generation)
                };
                // A root may be loaded on several CPUs.
                if made == former {
                    self.insert(index, table, 4);
                    self.used += 1;
                    clear_root(page);
                    root_copies::note_store(page);
                }
            }
        }
        flush_cpus(cpus);
    }

    /// Records the mirrors of a vCPU's root tables that this CPU is about to load.
    pub(super) fn load(&mut self, vcpu: usize, roots: [Option<Index>; 2]) {
        self.unload(vcpu);
        self.loaded.push(Loaded { vcpu, cpu: per_cpu::current(), roots });
    }

    /// Records that this CPU has loaded another root instead.
    pub(super) fn unload(&mut self, vcpu: usize) {
        self.loaded.retain(|loaded| loaded.vcpu != vcpu);
    }

    #[cfg(not(target_os = "none"))]
    fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        (0..self.pool.len()).filter_map(|index| self.pool.get(index))
    }

    /// The level of the mirror in a frame, if there is one.
    #[cfg(not(target_os = "none"))]
    pub(super) fn level_of_page(&self, page: Mfn) -> Option<u8> {
        self.mirrors()
            .find(|mirror| mirror.page.first_frame() == page && mirror.generation == self.generation)
            .map(|mirror| mirror.level)
    }
}

/// Removes the links of a root table's mirror.
fn clear_root(page: Mfn) {
    for index in (0..ENTRIES).filter(|&index| !root_slots::is_hypervisor_slot(index)) {
        access::write_entry(page, index, 0);
    }
}
