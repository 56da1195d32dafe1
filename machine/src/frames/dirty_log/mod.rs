//! The log of the pages that a domain has dirtied, for live migration and checkpoints.
//!
//! A domain without a log runs on its own page tables. A domain with a log runs on *mirror tables*:
//! tables of Paravane, which the hardware walks instead. The guest's tables stay as the guest wrote
//! them, and every walk by Paravane's code still uses those. A mirror entry differs from the
//! guest's in two ways. A link leads to the mirror of the lower table. A leaf lacks rights that are
//! withheld until the guest uses them: it is writable only if its page is marked in the current
//! round. So the first write to a page in a round faults, and the page is marked.
//!
//! Mirrors are a cache. They are made when the guest faults, hold no references, and can be
//! discarded at any time. A round ends by discarding all of them, whose cost depends on the number
//! of loaded root tables only; so do memory and time when the pool of frames is used up.
//!
//! All state is behind one lock per domain, which every store to a page table of the domain takes.
//! While it is held, no entry of a table in use changes.
//!
//! - **MT-1** A mirror entry grants no right that the guest's entry lacks. It is present only if
//!   the guest's entry has its accessed bit, and writable as a leaf only if that has its dirty bit.
//! - **MT-2** A mirror leaf that is writable maps a page that is marked in the current round, or
//!   one that has no number in the log, such as another domain's.
//! - **MT-3** The map leads from a table to its mirror, of the same level. A table that is torn
//!   down has lost its mirror before the first reference of its entries ends.
//! - **MT-4** A store to a table and the change of its mirror's entry are one step under the lock,
//!   before the former entry's references end. So TC-1 to TC-4 and FT-3 hold with mirrors.
//! - **MT-5** While a domain has a log, only mirrors of its root tables are loaded for its vCPUs,
//!   and each that is loaded is recorded.
//! - **MT-6** No reference can name a frame of the pool (FT-8), so no guest can map, grant or pin
//!   it. Before a frame becomes another mirror, no CPU has a translation that was made by walking
//!   it.
//! - **MT-7** A mark is taken by one harvest. Right before the marks are taken, all mirrors are
//!   discarded, and with them the permission to write without a further mark.
//! - **MT-8** Paravane writes to a page of the domain first, and marks it afterwards. Pages that
//!   others may write at any time (see [`hold`]) count as dirty in the last harvest.

mod bitmap;
mod chunks;
mod mirrors;
mod resolve;

use core::sync::atomic::{AtomicU32, Ordering};

use abi::xen::DomainId;
use alloc::boxed::Box;

use self::bitmap::Bitmap;
use self::mirrors::Mirrors;
use super::list::FrameList;
use super::reference::{FrameRef, L4, NoMemory, TypedRef};
use super::slot::{self, KindCode, Slot};
use super::transition::Budget;
use super::{access, owner};
use crate::addr::{Mfn, Pfn};
use crate::m2p;
use crate::pte::RawEntry;
use crate::sync::{Level, SpinLock};
use crate::tlb::root_copies;

pub use self::resolve::{Access, Resolution, resolve};

/// Cost of adding a frame to the pool or of freeing it, in units of the budget.
const COST_OF_FRAME: u32 = 16;
/// Cost of checking whether others may write to a frame.
const COST_OF_CHECK: u32 = 1;

/// Number of domains with a log.
static LOGGING: AtomicU32 = AtomicU32::new(0);

/// A domain's log, if it has one.
pub(super) struct LogSlot(SpinLock<Option<Box<DirtyLog>>>);

impl LogSlot {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(Level::DirtyLog, None))
    }
}

/// The log of one domain.
pub struct DirtyLog {
    domain: DomainId,
    /// The marks of the current round.
    marks: Bitmap,
    /// The marks of the former round, while they are harvested.
    harvest: Bitmap,
    /// Pages that others may write at any time.
    held: Bitmap,
    mirrors: Mirrors,
    /// Number of faults in the current round.
    faults: u32,
}

/// What a domain's log contains at a moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LogState {
    /// Page numbers that the log covers.
    pub pages: u64,
    /// Marks of the current round.
    pub marked: u64,
    /// Pages that others may write at any time.
    pub held: u64,
    /// Frames of the pool.
    pub frames: u64,
    /// Frames of the pool that are mirrors.
    pub mirrors: u64,
    /// Number of faults in the current round.
    pub faults: u32,
}

/// Whether any domain has a log.
#[inline]
fn any() -> bool {
    LOGGING.load(Ordering::Relaxed) != 0
}

/// Runs `act` with the log of `domain`, if it has one.
fn with<R>(domain: DomainId, act: impl FnOnce(&mut DirtyLog) -> R) -> Option<R> {
    if !any() {
        return None;
    }
    owner::find(domain)?.log.0.lock().as_deref_mut().map(act)
}

impl DirtyLog {
    /// A log for a domain with page numbers below `pages` and `vcpus` vCPUs, without memory for its
    /// mirrors and marks.
    pub fn new(domain: DomainId, pages: u64, vcpus: usize) -> Box<Self> {
        Box::new(Self {
            domain,
            marks: Bitmap::of(pages),
            harvest: Bitmap::of(pages),
            held: Bitmap::of(pages),
            mirrors: Mirrors::new(domain, vcpus),
            faults: 0,
        })
    }

    /// Adds memory until the log can be used and its pool has `frames` frames, or the budget is
    /// exhausted. Returns whether it is complete.
    ///
    /// # Errors
    /// If there is no free frame.
    pub fn grow(&mut self, frames: u32, budget: &mut Budget) -> Result<bool, NoMemory> {
        for bitmap in [&mut self.marks, &mut self.harvest, &mut self.held] {
            while !bitmap.is_complete() {
                if budget.is_exhausted() {
                    return Ok(false);
                }
                budget.spend(COST_OF_FRAME);
                bitmap.grow();
            }
        }
        self.mirrors.grow(frames, budget)
    }

    /// Frees memory of the pool until the budget is exhausted. Returns whether none is left.
    pub fn shrink(&mut self, budget: &mut Budget) -> bool {
        self.mirrors.shrink(budget)
    }

    /// The page number of a frame of the domain, if the log covers it.
    fn number(&self, slot: &Slot) -> Option<Pfn> {
        let pfn = m2p::get(slot.mfn());
        (slot.owner.load(Ordering::SeqCst) == self.domain.0 && self.marks.covers(pfn)).then_some(pfn)
    }

    fn mark_frame(&mut self, mfn: Mfn) {
        if let Some(pfn) = slot::ram_slot(mfn).and_then(|slot| self.number(slot)) {
            self.marks.set(pfn);
        }
    }

    fn hold_frame(&mut self, slot: &Slot) {
        if let Some(pfn) = self.number(slot) {
            self.held.set(pfn);
        }
    }
}

/// Gives a domain its log. Until this returns, none of its vCPUs may be loaded (MT-5), and no other
/// domain may be changing its tables.
///
/// # Errors
/// Returns the log if the domain has one already, or owns no frames.
pub fn begin(log: Box<DirtyLog>) -> Result<(), Box<DirtyLog>> {
    let Some(owner) = owner::find(log.domain) else { return Err(log) };
    let mut found = owner.log.0.lock();
    if found.is_some() {
        return Err(log);
    }
    *found = Some(log);
    LOGGING.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

/// Takes a domain's log. None of its vCPUs may be loaded.
///
/// # Panics
/// If a mirror is loaded.
pub fn end(domain: DomainId) -> Option<Box<DirtyLog>> {
    let log = owner::find(domain)?.log.0.lock().take()?;
    assert!(log.mirrors.none_is_loaded(), "a log ends while mirrors of its root tables are loaded");
    LOGGING.fetch_sub(1, Ordering::SeqCst);
    Some(log)
}

/// The state of a domain's log, if it has one.
pub fn state(domain: DomainId) -> Option<LogState> {
    with(domain, |log| LogState {
        pages: log.marks.pages(),
        marked: log.marks.count(),
        held: log.held.count(),
        frames: log.mirrors.frames(),
        mirrors: log.mirrors.used(),
        faults: log.faults,
    })
}

/// Records the frames of a domain that others may write, from the one at `cursor` on, until the
/// budget is exhausted. Returns whether all have been visited. Call this once after [`begin`], with
/// `cursor` `None` at first; frames that are shared later are recorded as that happens.
pub fn hold_shared(list: &FrameList, domain: DomainId, cursor: &mut Option<Mfn>, budget: &mut Budget) -> bool {
    list.visit(cursor, |slot| {
        let usage = slot.usage();
        let is_descriptors = usage.kind == KindCode::Descriptor && usage.count != 0;
        if usage.shared_writable || usage.written_by_host || is_descriptors {
            with(domain, |log| log.hold_frame(slot));
        }
        budget.spend(COST_OF_CHECK);
        !budget.is_exhausted()
    })
}

/// Starts a round: withdraws the permission to write without a mark, and sets the marks aside for
/// [`harvest`]. Marks of the former round that were not harvested become marks of the new round.
/// Returns the number of faults in the round that ends.
pub fn start_round(domain: DomainId) -> Option<u32> {
    with(domain, |log| {
        log.mirrors.discard_all();
        core::mem::swap(&mut log.marks, &mut log.harvest);
        core::mem::take(&mut log.faults)
    })
}

/// What a harvest does with the marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harvest {
    /// Takes those of the round that ended last.
    Take,
    /// Reads those of the current round.
    Peek,
}

/// Copies marks, 64 pages a word, the first page in bit 0, from word `first` on. Words beyond the
/// log are zero. With `held`, pages that others may write at any time count as marked. Returns
/// `false` if the domain has no log.
pub fn harvest(domain: DomainId, how: Harvest, held: bool, first: u64, words: &mut [u64]) -> bool {
    let copied = with(domain, |log| {
        for (index, word) in (first..).zip(words) {
            *word = match how {
                Harvest::Take => log.harvest.take_word(index),
                Harvest::Peek => log.marks.word(index),
            };
            if held {
                *word |= log.held.word(index);
            }
        }
    });
    copied.is_some()
}

/// Returns marks that were taken but could not be handed on.
pub fn put_back(domain: DomainId, first: u64, words: &[u64]) {
    with(domain, |log| (first..).zip(words).for_each(|(index, word)| log.marks.add_word(index, *word)));
}

/// Returns the marks from word `first` on that were not harvested. Returns `false` if the budget is
/// exhausted before all are returned; `first` is where to continue.
pub fn put_back_rest(domain: DomainId, first: &mut u64, budget: &mut Budget) -> bool {
    with(domain, |log| {
        while *first < log.harvest.words() {
            if budget.is_exhausted() {
                return false;
            }
            budget.spend(COST_OF_CHECK);
            let word = log.harvest.take_word(*first);
            log.marks.add_word(*first, word);
            *first += 1;
        }
        true
    })
    .unwrap_or(true)
}

/// Records that a frame has been written (MT-8).
#[inline]
pub(super) fn mark(slot: &Slot) {
    if any() {
        mark_slowly(slot);
    }
}

#[cold]
#[inline(never)]
fn mark_slowly(slot: &Slot) {
    let owner = DomainId(slot.owner.load(Ordering::SeqCst));
    with(owner, |log| log.mark_frame(slot.mfn()));
}

/// Records that a frame is in use as page table or as page of descriptors.
#[inline]
pub(super) fn note_kind(slot: &Slot, kind: KindCode) {
    if any() {
        mark_slowly(slot);
        if kind == KindCode::Descriptor {
            // The processor sets the accessed bit of a descriptor that is loaded.
            hold(slot);
        }
    }
}

/// Records that others may write to a frame at any time from now on: Paravane through a shared
/// page, the processor through loaded descriptors, or another domain through a mapping.
#[inline]
pub(super) fn hold(slot: &Slot) {
    if any() {
        let owner = DomainId(slot.owner.load(Ordering::SeqCst));
        with(owner, |log| log.hold_frame(slot));
    }
}

/// Sets the page number of a frame, whose contents are its owner's page of that number from now on.
pub fn set_number(mfn: Mfn, pfn: Pfn) {
    let slot = if any() { slot::ram_slot(mfn) } else { None };
    let logged = slot.and_then(|slot| {
        with(DomainId(slot.owner.load(Ordering::SeqCst)), |log| {
            m2p::set(mfn, pfn);
            log.mark_frame(mfn);
            let usage = slot.usage();
            if usage.shared_writable || usage.written_by_host {
                log.hold_frame(slot);
            }
        })
    });
    if logged.is_none() {
        m2p::set(mfn, pfn);
    }
}

/// Runs `store`, which may change entry `index` of a table in use, and changes the table's mirror
/// accordingly (MT-4).
#[inline(always)]
pub(super) fn around_store<R>(table: &FrameRef, level: u8, index: u16, store: impl FnOnce() -> R) -> R {
    if any() { around_logged_store(table, level, index, store) } else { store() }
}

#[cold]
#[inline(never)]
fn around_logged_store<R>(table: &FrameRef, level: u8, index: u16, store: impl FnOnce() -> R) -> R {
    let Some(owner) = owner::find(table.owner()) else { return store() };
    let mut log = owner.log.0.lock();
    let Some(log) = log.as_deref_mut() else { return store() };
    let result = store();
    log.mark_frame(table.mfn());
    if let Some(mirror) = log.mirrors.find(table.mfn()) {
        let bits = log.permitted(level, index, RawEntry::new(access::read_entry(table.mfn(), index)));
        access::write_entry(log.mirrors.page(mirror), index, bits);
        if level == 4 {
            // The copies of this CPU and of others are as old as the mirror's former entry.
            root_copies::note_store(log.mirrors.page(mirror));
        }
    }
    result
}

/// Discards the mirror of a table whose entries are about to be torn down (MT-3).
#[inline]
pub(super) fn forget_table(table: &FrameRef) {
    if any() {
        with(table.owner(), |log| log.mirrors.forget(table.mfn()));
    }
}

/// The mirrors of a vCPU's root tables, in the order of `roots`, if its domain has a log. They stay
/// loaded, as those of `vcpu`, until the next call for it or [`unload_roots`]. No root of the guest
/// may be loaded on this CPU during the call.
pub(crate) fn load_roots(domain: DomainId, vcpu: usize, roots: [Option<&TypedRef<L4>>; 2]) -> Option<[Option<Mfn>; 2]> {
    with(domain, |log| log.load_roots(vcpu, roots.map(|root| root.map(TypedRef::mfn))))
}

/// Records that a vCPU's mirrors are no longer loaded.
pub(crate) fn unload_roots(domain: DomainId, vcpu: usize) {
    with(domain, |log| log.mirrors.unload(vcpu));
}

/// What the simulated TLB checks (`frames::reach`).
#[cfg(not(target_os = "none"))]
pub(super) mod checks {
    use super::{DirtyLog, DomainId, Mfn, any, owner, slot};

    /// What is known about the log of a domain.
    pub(in crate::frames) enum Found<T> {
        /// It has none.
        Nothing,
        /// Another thread uses it, so it may be in an intermediate state.
        Busy,
        /// The result of a check.
        Checked(T),
    }

    fn look<R>(domain: DomainId, check: impl FnOnce(&DirtyLog) -> R) -> Found<R> {
        let Some(owner) = owner::find(domain).filter(|_| any()) else { return Found::Nothing };
        let Some(log) = owner.log.0.try_lock() else { return Found::Busy };
        log.as_deref().map_or(Found::Nothing, |log| Found::Checked(check(log)))
    }

    /// The reason why a CPU that runs `holder` may not walk `table` as one of `level` (MT-3, MT-5).
    pub(in crate::frames) fn objection_to_walk(table: Mfn, level: u8, holder: DomainId) -> Found<Option<&'static str>> {
        look(holder, |log| match log.mirrors.level_of_page(table) {
            None => Some("is no mirror although its domain has a log"),
            Some(found) => (found != level).then_some("is a mirror of a table of another level"),
        })
    }

    /// The reason why a CPU that runs `holder` may not write to `frame` (MT-2).
    pub(in crate::frames) fn objection_to_write(frame: Mfn, holder: DomainId) -> Option<&'static str> {
        let slot = slot::ram_slot(frame)?;
        let is_marked = |log: &DirtyLog| log.number(slot).is_none_or(|page| log.marks.is_set(page));
        match look(holder, is_marked) {
            Found::Checked(false) => Some("is not marked in the log"),
            Found::Checked(true) | Found::Nothing | Found::Busy => None,
        }
    }
}
