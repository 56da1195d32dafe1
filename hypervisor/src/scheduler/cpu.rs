//! The scheduling state of a pCPU, and the locks of the run queues.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use machine::addr::{CpuId, CpuSet, MAX_CPUS, PerCpu};
use machine::integers::saturating_u32;
use machine::sync::{Level, SpinLock, SpinLockGuard};
use machine::{cpu, time};

use super::cores;
use super::queue::RunQueue;
use super::share::SLICE;
use crate::domain::Vcpu;
use crate::latency::{self, Cause};

/// The vCPU that a pCPU runs, and those that wait for it.
pub(super) struct Queue {
    pub(super) run: RunQueue<Arc<Vcpu>>,
    pub(super) current: Option<Arc<Vcpu>>,
    /// When the current slice ends, or `u64::MAX` if no vCPU waits for that.
    pub(super) slice_end: u64,
    pub(super) slice_start: u64,
    /// Length of the current vCPU's slice if other vCPUs wait.
    pub(super) slice: u64,
    /// The current vCPU was chosen although others come before it, which wait for the core's next
    /// turn.
    pub(super) passed_over: bool,
    /// vCPUs whose domain has reached its cap, with the time of the next check.
    pub(super) aside: Vec<(u64, Arc<Vcpu>)>,
}

struct Cpu {
    queue: SpinLock<Queue>,
    /// The number of vCPUs that wait in `queue`, readable without the lock.
    waiting: AtomicU32,
    idle_time: AtomicU64,
    /// Time at which it became idle, or zero if it is not idle.
    idle_since: AtomicU64,
}

static CPUS: PerCpu<Cpu> = PerCpu::new(
    [const {
        Cpu {
            queue: SpinLock::new(
                Level::Scheduler,
                Queue {
                    run: RunQueue::new(),
                    current: None,
                    slice_end: u64::MAX,
                    slice_start: 0,
                    slice: SLICE,
                    passed_over: false,
                    aside: Vec::new(),
                },
            ),
            waiting: AtomicU32::new(0),
            idle_time: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
        }
    }; MAX_CPUS],
);

/// The pCPUs that are idle and to which no vCPU has been sent yet.
static IDLE: AtomicU64 = AtomicU64::new(0);

/// The run queue of a pCPU. Only one may be locked at a time.
pub(super) fn queue(cpu: CpuId) -> SpinLockGuard<'static, Queue> {
    CPUS[cpu].queue.lock()
}

/// The run queue whose lock protects the vCPU's scheduling state.
pub(super) fn home_queue(vcpu: &Vcpu) -> (CpuId, SpinLockGuard<'static, Queue>) {
    loop {
        let home = vcpu.scheduling.home();
        let queue = queue(home);
        if vcpu.scheduling.home() == home {
            return (home, queue);
        }
    }
}

impl Queue {
    /// Publishes the number of waiting vCPUs to other pCPUs.
    pub(super) fn publish(&self, cpu: CpuId) {
        CPUS[cpu].waiting.store(saturating_u32(self.run.waiting()), Ordering::SeqCst);
    }
}

impl Queue {
    /// When the first waiting vCPU preempts the running one, if it does so before the end of the
    /// slice.
    pub(super) fn takeover(&self) -> Option<u64> {
        let held = if self.current.is_some() { u64::from(super::rate_limit()) * 1000 } else { 0 };
        (!self.passed_over && self.run.preempts()).then_some(self.slice_start + held)
    }
}

/// The number of vCPUs that wait in a pCPU's queue.
pub(super) fn waiting(cpu: CpuId) -> u32 {
    CPUS[cpu].waiting.load(Ordering::SeqCst)
}

/// The pCPUs that are online.
pub(super) fn online() -> CpuSet {
    CpuSet::from_bits(u64::MAX >> (MAX_CPUS - cpu::online().clamp(1, MAX_CPUS)))
}

/// The intersection of two sets.
pub(super) const fn both(one: CpuSet, other: CpuSet) -> CpuSet {
    CpuSet::from_bits(one.bits() & other.bits())
}

/// The union of two sets.
pub(super) const fn either(one: CpuSet, other: CpuSet) -> CpuSet {
    CpuSet::from_bits(one.bits() | other.bits())
}

/// The set without one pCPU.
pub(super) const fn without(mut set: CpuSet, cpu: CpuId) -> CpuSet {
    set.remove(cpu);
    set
}

/// The pCPUs that are idle.
pub(crate) fn idle_cpus() -> CpuSet {
    CpuSet::from_bits(IDLE.load(Ordering::SeqCst))
}

/// Claims an idle pCPU of the set for a vCPU, so that no other code sends a vCPU to it: one of an
/// idle core if there is one, and if possible `preferred`.
pub(super) fn take_idle(of: CpuSet, preferred: CpuId, vcpu: &Vcpu) -> Option<CpuId> {
    loop {
        let idle = cores::best_idle(idle_cpus(), of, vcpu);
        let choice = if idle.contains(preferred) { preferred } else { idle.iter().next()? };
        if clear_idle(choice) {
            return Some(choice);
        }
    }
}

fn clear_idle(cpu: CpuId) -> bool {
    let mut bit = CpuSet::EMPTY;
    bit.insert(cpu);
    IDLE.fetch_and(!bit.bits(), Ordering::SeqCst) & bit.bits() != 0
}

/// Marks this pCPU as idle. The caller checks the queues once more and then halts.
pub(super) fn set_idle(cpu: CpuId) {
    let mut bit = CpuSet::EMPTY;
    bit.insert(cpu);
    IDLE.fetch_or(bit.bits(), Ordering::SeqCst);
}

/// Clears the mark that the pCPU is idle.
pub(crate) fn leave_idle(cpu: CpuId) {
    clear_idle(cpu);
}

/// Halts until an interrupt arrives, and counts the time as idle.
pub(crate) fn halt(cpu: CpuId) {
    let own = &CPUS[cpu];
    let start = time::now();
    own.idle_since.store(start.max(1), Ordering::Relaxed);
    latency::end();
    cpu::idle();
    latency::begin(Cause::Wake);
    own.idle_since.store(0, Ordering::Relaxed);
    own.idle_time.fetch_add(time::now().saturating_sub(start), Ordering::Relaxed);
}

/// Idle time of a pCPU in nanoseconds.
pub(crate) fn idle_time(cpu: CpuId) -> u64 {
    let own = &CPUS[cpu];
    let since = own.idle_since.load(Ordering::Relaxed);
    let current = if since == 0 { 0 } else { time::now().saturating_sub(since) };
    own.idle_time.load(Ordering::Relaxed) + current
}
