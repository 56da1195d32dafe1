#![expect(unsafe_code, reason = "removes references from the queue")]
//! Teardown of page tables. A table whose last use has ended waits in its domain's queue until the
//! references of its entries are released, so dropping a reference is always fast.
//!
//! - **TD-1** A table waits in the queue of the domain that owns it. Only that domain's vCPUs, and
//!   the destruction of the domain, work on the queue; no other domain waits for it or spends time
//!   on it. Destruction continues while others hold frames of the domain: a table that they still
//!   used is queued when they release it.
//! - **TD-2** A vCPU that has queued tables neither enters its guest nor starts the next step of a
//!   multicall until the queue of its domain is empty and no CPU works on a table of it. The
//!   guest's next step may depend on it: Linux unpins a tree of tables and makes its pages writable
//!   in one multicall.
//! - **TD-3** Each call has a budget. No table is started when the budget is exhausted. The caller
//!   opens an interrupt window between two calls.

use core::sync::atomic::{AtomicBool, Ordering};

use abi::xen::DomainId;

use super::list::link;
use super::owner::{self, Owner};
use super::reference::FrameRef;
use super::slot::{self, NO_FRAME, Use};
use super::transition::{self, Budget};
use crate::addr::{MAX_CPUS, Mfn, PerCpu};
use crate::sync::{Level, SpinLock};

/// Cost of removing a table from the queue, in addition to its teardown.
const COST_DEQUEUE: u32 = 8;

/// The page tables of one domain that await teardown, linked through the frame table.
pub(super) struct Queue {
    state: SpinLock<State>,
}

struct State {
    head: u32,
    /// Tables that CPUs have removed and are working on.
    in_work: u32,
    /// The domain has been destroyed except for frames that others hold: the queue is processed
    /// only on request.
    is_orphan: bool,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { state: SpinLock::new(Level::Teardown, State::new()) }
    }

    fn push(&self, frame: FrameRef) {
        let mut state = self.state.lock();
        state.push(frame);
        if state.is_orphan {
            note_orphaned_tables();
        }
    }

    fn set_orphan(&self, is_orphan: bool) {
        self.state.lock().is_orphan = is_orphan;
    }

    /// Removes a table to work on it.
    fn pop(&self) -> Option<FrameRef> {
        let mut state = self.state.lock();
        if state.head == NO_FRAME {
            return None;
        }
        let mfn = Mfn::new(u64::from(state.head));
        state.head = slot::referenced(mfn).queue_next.load(Ordering::Relaxed);
        state.in_work += 1;
        drop(state);
        // SAFETY: the queue holds a reference to each of its frames (FT-1), and this one was just
        // removed under its lock.
        Some(unsafe { FrameRef::from_counted(mfn) })
    }

    /// Ends the work on a table. An unfinished one is queued again.
    fn finish(&self, frame: FrameRef, done: bool) {
        let mut state = self.state.lock();
        state.in_work -= 1;
        if !done {
            state.push(frame);
            return;
        }
        drop(state);
        drop(frame);
    }

    fn is_finished(&self) -> bool {
        let state = self.state.lock();
        state.head == NO_FRAME && state.in_work == 0
    }

    /// Tears tables down until none is left or the budget is exhausted.
    fn work(&self, budget: &mut Budget) {
        // The budget is checked before each table: one without entries is always torn down
        // completely, and one that is in use again needs no work.
        while !budget.is_exhausted()
            && let Some(frame) = self.pop()
        {
            budget.spend(COST_DEQUEUE);
            let slot = frame.slot();
            let claimed = slot.update_usage(|usage| {
                let idle = usage.count == 0 && !usage.busy && usage.owns_entries();
                Some(Use { queued: false, busy: usage.busy || idle, ..usage })
            });
            // `update_usage` always succeeds here. The previous state shows whether the frame has
            // been claimed for teardown.
            let (Ok(before) | Err(before)) = claimed;
            let mut done = true;
            if before.count == 0 && !before.busy && before.owns_entries() {
                done = transition::release_entries(&frame, budget);
                transition::finish_busy(&frame, |usage| Use { queued: !done, ..usage });
            }
            self.finish(frame, done);
        }
    }
}

impl State {
    const fn new() -> Self {
        Self { head: NO_FRAME, in_work: 0, is_orphan: false }
    }

    fn push(&mut self, frame: FrameRef) {
        frame.slot().queue_next.store(self.head, Ordering::Relaxed);
        self.head = link(frame.into_counted());
    }
}

/// CPUs on which tables have been queued since their vCPU's teardown was last finished (TD-2).
static LEFT_TABLES: PerCpu<AtomicBool> = PerCpu::new([const { AtomicBool::new(false) }; MAX_CPUS]);

#[inline]
fn left_tables_here() -> &'static AtomicBool {
    &LEFT_TABLES[crate::per_cpu::current()]
}

/// Whether tables have been queued on this CPU since [`note_torn_down`].
#[inline]
pub fn left_tables() -> bool {
    left_tables_here().load(Ordering::Relaxed)
}

/// Records that no teardown is outstanding for the vCPU on this CPU, or that the vCPU leaves the
/// CPU with it.
pub fn note_torn_down() {
    left_tables_here().store(false, Ordering::Relaxed);
}

/// A table has been queued for a destroyed domain since the flag was last taken.
static ORPHANED_TABLES: AtomicBool = AtomicBool::new(false);

/// Whether tables of a destroyed domain await teardown.
pub fn orphaned_tables() -> bool {
    ORPHANED_TABLES.load(Ordering::SeqCst)
}

/// Whether such tables may have been queued since the last call.
pub fn take_orphaned_tables() -> bool {
    orphaned_tables() && ORPHANED_TABLES.swap(false, Ordering::SeqCst)
}

/// Records that such tables may be queued.
pub fn note_orphaned_tables() {
    ORPHANED_TABLES.store(true, Ordering::SeqCst);
}

/// Queues a frame whose `queued` bit the caller has just set. The queue owns the reference.
pub(super) fn push(frame: FrameRef) {
    let owner = owner::find(frame.owner()).expect("a page table belongs to a domain that owns frames");
    owner.queue.push(frame);
    left_tables_here().store(true, Ordering::Relaxed);
}

/// The teardown queue of one domain.
#[derive(Clone, Copy)]
pub struct Teardown {
    owner: &'static Owner,
}

impl Teardown {
    /// The queue of `domain`; `None` for ids that are not a domain's.
    pub fn of(domain: DomainId) -> Option<Self> {
        owner::make(domain).map(|owner| Self { owner })
    }

    /// Marks the domain as destroyed except for frames that others hold: [`orphaned_tables`]
    /// reports tables that are queued from now on.
    pub fn orphan(&self) {
        self.owner.queue.set_orphan(true);
    }

    /// Clears the mark, when a new domain gets the id.
    pub fn adopt(&self) {
        self.owner.queue.set_orphan(false);
    }

    /// Whether the queue is empty and no CPU works on a table of it.
    pub fn is_finished(&self) -> bool {
        self.owner.queue.is_finished()
    }

    /// Tears tables down until none is left or the budget is exhausted. Returns `true` if no table
    /// is left and no other CPU works on one.
    pub fn advance(&self, budget: &mut Budget) -> bool {
        self.owner.queue.work(budget);
        self.is_finished()
    }
}

/// Whether a table of any domain is queued, or a CPU works on one.
#[cfg(not(target_os = "none"))]
pub fn any_waiting() -> bool {
    (0..1 << 15).map(DomainId).filter_map(owner::find).any(|owner| !Teardown { owner }.is_finished())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::NoEntries;
    use crate::frames::{L1, TypedRef, allocate, free_frames};
    use std::vec::Vec;

    const GUEST: DomainId = DomainId(1);
    const TABLES: usize = 1000;

    /// Frames that are queued tables without entries.
    fn queued_tables() -> Vec<FrameRef> {
        let frame = || allocate(GUEST).expect("a free frame").into_reference();
        let frames: Vec<FrameRef> = (0..TABLES).map(|_| frame()).collect();
        let tables: Vec<TypedRef<L1>> = frames.iter().map(used_again).collect();
        tables.into_iter().for_each(|table| table.pin().expect("not pinned yet"));
        frames.iter().for_each(|frame| drop(TypedRef::<L1>::unpin(frame)));
        frames
    }

    fn used_again(frame: &FrameRef) -> TypedRef<L1> {
        TypedRef::acquire(frame.again(), &mut NoEntries, &mut Budget::new(1000)).expect("an empty table")
    }

    fn still_queued(frames: &[FrameRef]) -> usize {
        frames.iter().filter(|frame| frame.slot().usage().queued).count()
    }

    #[test]
    fn teardown_of_tables_without_entries_stops_at_the_budget() {
        crate::hosted::start(2048);
        let free = free_frames();
        let frames = queued_tables();
        let waiting = Teardown::of(GUEST).expect("a domain's number");
        assert!(!waiting.advance(&mut Budget::new(100)));
        let left = still_queued(&frames);
        assert!((TABLES - 10..TABLES).contains(&left), "{left} are left");
        drop(frames);
        while !waiting.advance(&mut Budget::new(1000)) {}
        assert_eq!(free_frames(), free);
    }

    #[test]
    fn removal_of_tables_in_use_again_stops_at_the_budget() {
        crate::hosted::start(2048);
        let free = free_frames();
        let frames = queued_tables();
        let tables: Vec<TypedRef<L1>> = frames.iter().map(used_again).collect();
        let waiting = Teardown::of(GUEST).expect("a domain's number");
        assert!(!waiting.advance(&mut Budget::new(100)));
        let left = still_queued(&frames);
        assert!((TABLES - 20..TABLES).contains(&left), "{left} are left");
        while !waiting.advance(&mut Budget::new(1000)) {}
        drop((tables, frames));
        while !waiting.advance(&mut Budget::new(1000)) {}
        assert_eq!(free_frames(), free);
    }
}
