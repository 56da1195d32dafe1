#![expect(unsafe_code, reason = "takes ownership of entries of tables")]
//! Changes of kind: promotion to a validated kind, and teardown of unused tables.
//!
//! States of a frame, as (use count, progress, busy):
//!
//! ```text
//!   idle (0,0,no) --claim--> validating (0,n,busy) --all 512--> in use (>0,512,no)
//!        ^                        |  budget exhausted, or an entry refused
//!        |                        v
//!        +---progress 0--- partial (0,n,no) <--last use ends-- in use
//!                                 |  claimed for teardown, or for another kind
//!                                 v
//!                          tearing down (0,n,busy)
//! ```
//!
//! Validation of a partial table in its old kind may resume where it stopped: its first n entries
//! are still valid, since no guest can have written to it (FT-3).

use abi::errno::Errno;
use alloc::vec::Vec;

use super::admission::Admission;
use super::descriptor::check_descriptor;
use super::entry::{self, Entry};
use super::reference::{Descriptor, FrameRef, Kind, L1, L2, L3, L4, MAX_GUEST_REFERENCES, TypedRef};
use super::slot::{KindCode, Slot, Use};
use super::{access, dirty_log, root_slots, table, teardown};
use crate::addr::Mfn;
use crate::pte::RawEntry;
use crate::tlb::root_copies;

/// Number of entries in a page table, and of descriptors in a descriptor page.
pub(super) const ENTRIES: u16 = 512;

/// Cost of searching a table for used entries, in addition to the entries.
const COST_TABLE_SCAN: u32 = 32;

/// Cost of releasing the use of a table, including queueing it after its last use.
const COST_TABLE_RELEASE: u32 = 3;

/// Number of polls of a busy frame per unit of the budget. With this number, a hypercall's budget
/// lasts about a millisecond, longer than CPUs usually keep a frame busy.
const POLLS_PER_UNIT: u32 = 4;
/// Minimum number of polls, even if the budget is exhausted, since the last steps of a busy phase
/// are short.
const MIN_POLLS: u32 = 64;

/// Cost of a change of kind, which may have to wait for other CPUs to flush.
const COST_CHANGE_OF_KIND: u32 = 64;

/// The work that may still be done before the next interrupt window. One unit is about one used
/// entry validated or released.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    whole: u32,
}

impl Budget {
    /// Work between two interrupt windows. A unit is about 90 instructions, so the whole budget is
    /// half a million.
    pub const HYPERCALL: u32 = 6 * 1024;
    /// Work on a fast path. The rest is left to the slow path.
    pub const FAST: u32 = 1024;

    /// A budget of `units`.
    pub const fn new(units: u32) -> Self {
        Self { left: units, whole: units }
    }

    /// Spends `units`, or all that is left.
    pub const fn spend(&mut self, units: u32) {
        self.left = self.left.saturating_sub(units);
    }

    /// The units that are left.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// Whether a step that costs `units` and cannot be interrupted may begin: if they are left, or
    /// if less than an eighth of the budget has been spent, so that a later attempt would not have
    /// more. The step's cost is not spent here.
    pub const fn has_room(&self, units: u32) -> bool {
        let most = self.whole - self.whole / 8;
        self.left >= if units < most { units } else { most }
    }

    /// Whether the budget is exhausted.
    pub const fn is_exhausted(&self) -> bool {
        self.left == 0
    }
}

/// The reason why a frame could not be acquired as a kind.
#[derive(Debug)]
pub enum AcquireError {
    /// It is in use as another kind.
    Conflict,
    /// One of its entries is refused.
    Refused(Errno),
    /// The budget is exhausted. The caller must retry, and hold the promotion until then.
    Preempted(Promotion),
}

impl From<Errno> for AcquireError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// Tables whose validation was interrupted. They keep their progress while this value lives;
/// dropping the value releases it.
#[derive(Debug)]
pub struct Promotion {
    frames: Vec<FrameRef>,
    /// A root that has been validated, for a call that needs two.
    root: Option<TypedRef<L4>>,
    /// The attempt ended at a frame that was busy on another CPU.
    ended_at_busy_frame: bool,
}

/// The maximum number of frames that a promotion keeps from an earlier one. A tree has at most four
/// incomplete ones.
const MAX_KEPT_FRAMES: usize = 16;

impl Promotion {
    const fn empty() -> Self {
        Self { frames: Vec::new(), root: None, ended_at_busy_frame: false }
    }

    /// A promotion without progress that ended at a frame that was busy on another CPU.
    const fn ending_at_busy_frame() -> Self {
        Self { frames: Vec::new(), root: None, ended_at_busy_frame: true }
    }

    /// Keeps a root that the same call has acquired before. Without a use it would be torn down,
    /// and the call would never complete.
    #[must_use]
    pub fn with_root(mut self, root: TypedRef<L4>) -> Self {
        self.root = Some(root);
        self
    }

    /// The root that is kept.
    pub fn root(&self) -> Option<Mfn> {
        self.root.as_ref().map(TypedRef::mfn)
    }

    /// Replaces the promotion of the previous attempt. Progress that both contain is kept;
    /// otherwise each attempt could undo the previous one. If this attempt ended at a busy frame,
    /// all of the previous progress is kept, since this attempt may have validated less.
    pub fn supersede(&mut self, mut former: Self) {
        former.frames.retain(|frame| !self.frames.contains(frame));
        if self.ended_at_busy_frame {
            // Frames that are complete by now need not be kept.
            let unfinished = former.frames.extract_if(.., |frame| frame.slot().usage().count == 0);
            self.frames.extend(unfinished.take(MAX_KEPT_FRAMES));
            self.root = self.root.take().or_else(|| former.root.take());
        }
    }

    /// The frames whose progress is kept.
    pub fn frames(&self) -> impl Iterator<Item = Mfn> {
        self.frames.iter().map(FrameRef::mfn)
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        for frame in self.frames.drain(..) {
            let partial = |usage: Use| usage.count == 0 && usage.owns_entries() && !usage.busy && !usage.queued;
            if frame.slot().update_usage(|usage| partial(usage).then_some(Use { queued: true, ..usage })).is_ok() {
                teardown::push(frame);
            }
        }
    }
}

impl<K: Kind> TypedRef<K> {
    /// Acquires a use of `frame` as `K`. A frame of another kind is promoted: each of its entries
    /// (or descriptors) is validated.
    ///
    /// # Errors
    /// See [`AcquireError`]. After an error no use is held.
    #[inline]
    pub fn acquire<A: Admission>(
        frame: FrameRef,
        admission: &mut A,
        budget: &mut Budget,
    ) -> Result<Self, AcquireError> {
        if !frame.slot().add_use(K::CODE, true) {
            acquire(&frame, K::CODE, admission, budget)?;
        }
        if K::CODE.has_contents() {
            dirty_log::note_kind(frame.slot(), K::CODE);
        }
        // SAFETY: the use was just added, by `add_use` or by `acquire`.
        Ok(unsafe { Self::from_counted(frame) })
    }
}

/// Adds one use of `frame` as `kind`.
#[inline(never)]
fn acquire<A: Admission>(
    frame: &FrameRef,
    kind: KindCode,
    admission: &mut A,
    budget: &mut Budget,
) -> Result<(), AcquireError> {
    let slot = frame.slot();
    let mut polls = 0_u32;
    loop {
        let usage = slot.usage();
        if usage.busy {
            if usage.kind != kind {
                return Err(AcquireError::Conflict);
            }
            // Other CPUs may hold the frame in turn, each for a whole budget.
            if polls >= MIN_POLLS && budget.is_exhausted() {
                return Err(AcquireError::Preempted(Promotion::ending_at_busy_frame()));
            }
            polls = polls.wrapping_add(1);
            if polls.is_multiple_of(POLLS_PER_UNIT) {
                budget.spend(1);
            }
            crate::tlb::serve();
            core::hint::spin_loop();
            continue;
        }
        let ready = usage.kind == kind && (usage.progress == ENTRIES || !kind.has_contents());
        if usage.count != 0 && (!ready || usage.count >= MAX_GUEST_REFERENCES) {
            return Err(AcquireError::Conflict);
        }
        if ready {
            if slot.exchange_usage(usage, Use { count: usage.count + 1, ..usage }).is_ok() {
                return Ok(());
            }
            continue;
        }
        if slot.exchange_usage(usage, Use { busy: true, ..usage }).is_err() {
            continue;
        }
        if usage.kind != kind {
            budget.spend(COST_CHANGE_OF_KIND);
            if !release_entries(frame, budget) {
                // Another CPU may have removed the busy frame from the teardown queue without
                // any work.
                let mut promotion = Promotion::empty();
                promotion.frames.push(frame.again());
                finish_busy(frame, |usage| usage);
                return Err(AcquireError::Preempted(promotion));
            }
            change_kind(slot, usage.kind, kind);
        }
        let outcome = validate(frame, kind, admission, budget);
        let result = finish_validation(frame, outcome);
        if kind.has_contents() {
            // Entries may have been changed even if one was refused.
            dirty_log::mark(slot);
        }
        return result;
    }
}

/// Gives a busy frame without owned entries its new kind, after all translations of its former use
/// have been flushed (FT-3).
fn change_kind(slot: &Slot, from: KindCode, to: KindCode) {
    crate::counters::count(crate::counters::Counter::Promotions);
    if from != KindCode::None {
        slot.ensure_flushed_of(from);
    }
    let keeps_mark = from != KindCode::Writable;
    let changed = slot.update_usage(|usage| {
        let shared_writable = usage.shared_writable && keeps_mark;
        let written_by_host = usage.written_by_host && keeps_mark;
        Some(Use { kind: to, progress: 0, shared_writable, written_by_host, ..usage })
    });
    debug_assert!(changed.is_ok_and(|usage| usage.busy && usage.count == 0));
}

/// Ends a busy phase after applying `change` to the state.
pub(super) fn finish_busy(frame: &FrameRef, change: impl Fn(Use) -> Use) {
    let finished = frame.slot().update_usage(|usage| Some(Use { busy: false, ..change(usage) }));
    debug_assert!(finished.is_ok_and(|usage| usage.busy));
}

/// Ends the busy phase of a validation: the frame is in use if it succeeded, partial otherwise.
fn finish_validation(frame: &FrameRef, outcome: Result<(), AcquireError>) -> Result<(), AcquireError> {
    match outcome {
        Ok(()) => {
            finish_busy(frame, |usage| Use { count: 1, ..usage });
            Ok(())
        }
        Err(AcquireError::Preempted(mut promotion)) => {
            promotion.frames.push(frame.again());
            finish_busy(frame, |usage| usage);
            Err(AcquireError::Preempted(promotion))
        }
        Err(error) => {
            let enqueue = |usage: Use| usage.owns_entries() && !usage.queued;
            let before = frame
                .slot()
                .update_usage(|usage| Some(Use { busy: false, queued: usage.queued || enqueue(usage), ..usage }));
            if before.is_ok_and(enqueue) {
                teardown::push(frame.again());
            }
            Err(error)
        }
    }
}

/// Validates the entries of a busy frame from its progress on.
fn validate<A: Admission>(
    frame: &FrameRef,
    kind: KindCode,
    admission: &mut A,
    budget: &mut Budget,
) -> Result<(), AcquireError> {
    match kind {
        KindCode::L1 => validate_leaves(frame, admission, budget),
        KindCode::L2 => validate_tables::<L1, A>(frame, 2, admission, budget),
        KindCode::L3 => validate_tables::<L2, A>(frame, 3, admission, budget),
        KindCode::L4 => validate_tables::<L3, A>(frame, 4, admission, budget),
        KindCode::Descriptor => validate_descriptors(frame, budget),
        KindCode::None | KindCode::Writable | KindCode::SharedReadOnly => Ok(()),
    }
}

fn set_progress(frame: &FrameRef, progress: u16) {
    let set = frame.slot().update_usage(|usage| Some(Use { progress, ..usage }));
    debug_assert!(set.is_ok_and(|usage| usage.busy));
}

/// Validates an L1 table without preemption: 512 entries are well within a budget.
fn validate_leaves<A: Admission>(frame: &FrameRef, admission: &mut A, budget: &mut Budget) -> Result<(), AcquireError> {
    budget.spend(COST_TABLE_SCAN);
    let mut next = frame.slot().usage().progress;
    while let Some(index) = access::next_used(frame.mfn(), next) {
        budget.spend(1);
        let raw = RawEntry::new(access::read_entry(frame.mfn(), index));
        match admission.leaf(raw, budget) {
            Ok(entry) => {
                table::note_mapping(frame, 1, entry.raw());
                access::write_entry(frame.mfn(), index, entry.into_raw());
            }
            Err(error) => {
                set_progress(frame, index);
                return Err(error);
            }
        }
        next = index + 1;
    }
    set_progress(frame, ENTRIES);
    Ok(())
}

fn validate_tables<Lower: super::Level, A: Admission>(
    frame: &FrameRef,
    level: u8,
    admission: &mut A,
    budget: &mut Budget,
) -> Result<(), AcquireError> {
    let start = frame.slot().usage().progress;
    let mut next = start;
    while let Some(index) = access::next_used(frame.mfn(), next) {
        next = index + 1;
        if level == 4 && root_slots::is_hypervisor_slot(index) {
            continue;
        }
        let raw = RawEntry::new(access::read_entry(frame.mfn(), index));
        if budget.is_exhausted() && index > start {
            set_progress(frame, index);
            return Err(AcquireError::Preempted(Promotion::empty()));
        }
        budget.spend(1);
        match entry::admit_table_entry::<Lower, A>(raw, admission, budget) {
            Ok(bits) => {
                table::note_mapping(frame, level, RawEntry::new(bits));
                access::write_entry(frame.mfn(), index, bits);
            }
            Err(error) => {
                set_progress(frame, index);
                return Err(error);
            }
        }
    }
    if level == 4 {
        for (index, entry) in root_slots::hypervisor_entries() {
            access::write_entry(frame.mfn(), index, entry);
        }
        root_copies::note_root(frame.mfn());
    }
    set_progress(frame, ENTRIES);
    Ok(())
}

fn validate_descriptors(frame: &FrameRef, budget: &mut Budget) -> Result<(), AcquireError> {
    budget.spend(u32::from(ENTRIES));
    for index in 0..ENTRIES {
        let raw = access::read_entry(frame.mfn(), index);
        let checked = check_descriptor(raw).ok_or(AcquireError::Refused(Errno::EINVAL))?;
        if checked != raw {
            access::write_entry(frame.mfn(), index, checked);
        }
    }
    set_progress(frame, ENTRIES);
    Ok(())
}

/// Releases the references of a busy frame's entries, from the last to the first. Returns `false`
/// if the budget is exhausted.
pub(super) fn release_entries(frame: &FrameRef, budget: &mut Budget) -> bool {
    let usage = frame.slot().usage();
    let Some(level) = usage.kind.table_level() else { return true };
    dirty_log::forget_table(frame);
    budget.spend(COST_TABLE_SCAN);
    let mut end = usage.progress;
    while let Some(index) = access::last_used(frame.mfn(), end) {
        if budget.is_exhausted() {
            set_progress(frame, index + 1);
            return false;
        }
        budget.spend(if level == 1 { 1 } else { COST_TABLE_RELEASE });
        end = index;
        if level == 4 && root_slots::is_hypervisor_slot(index) {
            access::write_entry(frame.mfn(), index, 0);
            continue;
        }
        let raw = access::read_entry(frame.mfn(), index);
        match level {
            // SAFETY: the entry is below the progress, so it owns the reference named by its bits
            // (FT-5). Only the thread that set BUSY is here (FT-4), and it moves the progress below
            // the entry before it ends the busy phase.
            1 => drop(unsafe { Entry::<L1>::from_owned_bits(raw) }),
            // SAFETY: as above.
            2 => drop(unsafe { Entry::<L2>::from_owned_bits(raw) }),
            // SAFETY: as above.
            3 => drop(unsafe { Entry::<L3>::from_owned_bits(raw) }),
            // SAFETY: as above.
            _ => drop(unsafe { Entry::<L4>::from_owned_bits(raw) }),
        }
    }
    set_progress(frame, 0);
    dirty_log::mark(frame.slot());
    true
}

impl TypedRef<Descriptor> {
    /// Replaces a descriptor by another one after validation. Returns `None` if the new one is
    /// refused.
    pub fn replace_descriptor(&self, index: u16, raw: u64) -> Option<()> {
        let checked = check_descriptor(raw)?;
        (index < ENTRIES).then(|| access::write_entry(self.mfn(), index, checked))?;
        dirty_log::mark(self.frame().slot());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::NoEntries;
    use crate::frames::{Teardown, Writable, allocate, free_frames};
    use abi::xen::DomainId;
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    const GUEST: DomainId = DomainId(1);

    /// Admits every table.
    struct Tables;

    impl Admission for Tables {
        fn leaf(&mut self, _: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
            Err(Errno::EINVAL.into())
        }

        fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno> {
            FrameRef::get_any(mfn).ok_or(Errno::EINVAL)
        }

        fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
            Err(Errno::EINVAL)
        }
    }

    fn frame() -> FrameRef {
        allocate(GUEST).expect("a free frame").into_reference()
    }

    /// A frame whose entries link `tables`.
    fn linking(tables: &[FrameRef]) -> FrameRef {
        let upper = frame();
        for (index, table) in (0..).zip(tables) {
            access::write_entry(upper.mfn(), index, table.mfn().address().get() | 7);
        }
        upper
    }

    fn set_busy(frame: &FrameRef) {
        frame.slot().update_usage(|usage| Some(Use { busy: true, ..usage })).unwrap();
    }

    /// Tries to acquire a table that another thread keeps busy until `until_over` is true, the
    /// attempt has ended, or ten seconds have passed.
    fn acquire_busy<K: Kind>(
        frame: &FrameRef,
        budget: u32,
        until_over: impl Fn() -> bool + Sync,
    ) -> Result<TypedRef<K>, AcquireError> {
        set_busy(frame);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let start = Instant::now();
                while !over.load(Ordering::Relaxed) && !until_over() && start.elapsed() < Duration::from_secs(10) {
                    std::thread::yield_now();
                }
                finish_busy(frame, |usage| usage);
            });
            let result = TypedRef::acquire(frame.again(), &mut Tables, &mut Budget::new(budget));
            over.store(true, Ordering::Relaxed);
            result
        })
    }

    #[test]
    fn a_wait_for_a_busy_frame_ends_with_the_budget() {
        crate::hosted::start(64);
        let table = frame();
        drop(TypedRef::<L1>::acquire(table.again(), &mut Tables, &mut Budget::new(1000)).unwrap());
        let result = acquire_busy::<L1>(&table, 1000, || false);
        assert!(matches!(&result, Err(AcquireError::Preempted(promotion)) if promotion.frames().next().is_none()));
    }

    #[test]
    fn a_wait_for_a_busy_frame_within_the_budget_gets_it() {
        crate::hosted::start(64);
        let table = frame();
        drop(TypedRef::<L1>::acquire(table.again(), &mut Tables, &mut Budget::new(1000)).unwrap());
        let start = Instant::now();
        let result = acquire_busy::<L1>(&table, u32::MAX, || start.elapsed() > Duration::from_millis(2));
        assert!(result.is_ok(), "{result:?}");
    }

    #[test]
    fn an_attempt_that_ends_at_a_busy_frame_keeps_earlier_progress() {
        crate::hosted::start(64);
        let free = free_frames();
        let leaves = [frame(), frame()];
        let lower = linking(&leaves);
        let upper = linking(&[lower.again()]);
        let attempt = TypedRef::<L3>::acquire(upper.again(), &mut Tables, &mut Budget::new(1));
        let Err(AcquireError::Preempted(former)) = attempt else { panic!("{attempt:?}") };
        assert_eq!(former.frames().count(), 2);
        let attempt = acquire_busy::<L3>(&upper, 100, || false);
        let Err(AcquireError::Preempted(mut promotion)) = attempt else { panic!("{attempt:?}") };
        promotion.supersede(former);
        let waiting = Teardown::of(GUEST).unwrap();
        assert!(waiting.advance(&mut Budget::new(10_000)));
        assert_eq!(lower.slot().usage().progress, 1, "its first entry is kept");
        let table = TypedRef::<L3>::acquire(upper.again(), &mut Tables, &mut Budget::new(1000)).unwrap();
        drop((promotion, table, upper, lower, leaves));
        while !waiting.advance(&mut Budget::new(10_000)) {}
        assert_eq!(free_frames(), free);
    }

    #[test]
    fn a_partly_torn_down_table_is_held_by_a_promotion() {
        crate::hosted::start(1024);
        let free = free_frames();
        let frame = frame();
        // A root, because it has entries: those of Paravane's slots.
        let table = TypedRef::<L4>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)).unwrap();
        drop(table);
        // Teardown finds the table while it is busy on another CPU, and removes it from the queue.
        frame.slot().update_usage(|usage| Some(Use { busy: true, ..usage })).unwrap();
        let waiting = Teardown::of(DomainId(1)).unwrap();
        assert!(waiting.advance(&mut Budget::new(10_000)));
        finish_busy(&frame, |usage| usage);
        let result = TypedRef::<Writable>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(10));
        assert!(matches!(result, Err(AcquireError::Preempted(_))));
        drop(result);
        assert!(waiting.advance(&mut Budget::new(10_000)));
        drop(frame);
        assert_eq!(free_frames(), free);
    }
}
