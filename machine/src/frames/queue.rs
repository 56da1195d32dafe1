//! Page tables that nobody uses any more wait here, per pCPU, to give back what their entries own. Dropping a reference
//! is thereby always short; the pCPU works its queue off, with a budget, before it returns to a guest.

use super::list::link;
use super::reference::FrameRef;
use super::slot::{self, NO_FRAME, Use};
use super::transition::{self, Budget};
use crate::addr::{CpuId, MAX_CPUS, Mfn};
use crate::sync::{Level, SpinLock};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

struct Queue {
    lock: SpinLock<()>,
    head: AtomicU32,
    /// Its pCPU works on a frame that it has taken out.
    busy: AtomicBool,
    /// How often its pCPU has worked it off to the end.
    emptied: AtomicU64,
}

static QUEUES: [Queue; MAX_CPUS] = [const {
    Queue {
        lock: SpinLock::new(Level::Reap, ()),
        head: AtomicU32::new(NO_FRAME),
        busy: AtomicBool::new(false),
        emptied: AtomicU64::new(0),
    }
}; MAX_CPUS];

fn own() -> &'static Queue {
    &QUEUES[crate::cpu::current().index()]
}

/// Tables that a pCPU had in its queue at some moment. They may hold on to others, so who counts on them being torn down
/// has to wait for it, wherever it goes on: a vCPU that leaves its pCPU between two steps of a hypercall.
#[derive(Debug)]
pub struct Backlog {
    cpu: CpuId,
    emptied: u64,
}

impl Backlog {
    /// What this pCPU has in its queue, if anything.
    pub fn of_this_cpu() -> Option<Self> {
        reaping_due().then(|| Self { cpu: crate::cpu::current(), emptied: own().emptied.load(Ordering::SeqCst) })
    }

    /// Whether all of it has been torn down.
    pub fn is_worked_off(&self) -> bool {
        // That pCPU may wait for this one.
        crate::tlb::serve();
        QUEUES[self.cpu.index()].emptied.load(Ordering::SeqCst) != self.emptied
    }
}

/// Queues a frame whose `queued` bit the caller has just set; the queue owns the reference.
pub(super) fn push(frame: FrameRef) {
    let queue = own();
    let guard = queue.lock.lock();
    let slot = frame.slot();
    slot.queue_next.store(queue.head.load(Ordering::Relaxed), Ordering::Relaxed);
    queue.head.store(link(frame.into_counted()), Ordering::Relaxed);
    drop(guard);
}

fn pop() -> Option<FrameRef> {
    let queue = own();
    let guard = queue.lock.lock();
    let head = queue.head.load(Ordering::Relaxed);
    if head == NO_FRAME {
        return None;
    }
    let mfn = Mfn::new(u64::from(head));
    queue.head.store(slot::referenced(mfn).queue_next.load(Ordering::Relaxed), Ordering::Relaxed);
    drop(guard);
    Some(FrameRef::from_counted(mfn))
}

/// Whether this pCPU has tables to tear down.
#[inline]
pub fn reaping_due() -> bool {
    own().head.load(Ordering::Relaxed) != NO_FRAME
}

/// Whether any pCPU has tables to tear down, or is at it.
pub fn reaping_anywhere() -> bool {
    QUEUES.iter().any(|queue| queue.busy.load(Ordering::SeqCst) || queue.head.load(Ordering::SeqCst) != NO_FRAME)
}

/// Tears down queued tables of this pCPU until none is left (`true`) or the budget is used up (`false`).
pub fn reap(budget: &mut Budget) -> bool {
    own().busy.store(true, Ordering::SeqCst);
    let done = work_off(budget);
    own().busy.store(false, Ordering::SeqCst);
    done
}

fn work_off(budget: &mut Budget) -> bool {
    while let Some(frame) = pop() {
        let slot = frame.slot();
        let claimed = slot.update_usage(|usage| {
            let idle = usage.count == 0 && !usage.busy && usage.owns_entries();
            Some(Use { queued: false, busy: usage.busy || idle, ..usage })
        });
        // `update_usage` always succeeds here; what it found tells whether the frame is ours to tear down.
        let (Ok(before) | Err(before)) = claimed;
        if before.count == 0 && !before.busy && before.owns_entries() {
            let done = transition::tear_down(&frame, budget);
            transition::finish_busy(&frame, |usage| Use { queued: !done, ..usage });
            if !done {
                push(frame);
                return false;
            }
        }
    }
    own().emptied.fetch_add(1, Ordering::SeqCst);
    true
}
