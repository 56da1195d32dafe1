//! The scheduling state of a vCPU.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use abi::vcpu::RunstateInfo;
use machine::addr::{CpuId, CpuSet};
use machine::sync::{Level, SpinLock};
use machine::time;

use super::cores::Group;
use super::runstate::{Account, Runstate};
use super::usage::Usage;
use crate::domain::{Domain, Vcpu};

/// The place of a vCPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// On no pCPU and in no queue: it may not run, or has not been queued yet.
    Off,
    /// In a run queue, or being moved to one.
    Queued,
    /// On a pCPU.
    Running,
    /// Loaded on a pCPU that halts, until the vCPU may run or another vCPU wants the pCPU.
    LazyIdle,
}

/// Scheduling state of a vCPU.
///
/// `place`, `home` and `virtual_time` change only under the lock of the home pCPU's queue. The
/// other fields are independent.
pub struct SchedulerState {
    place: AtomicU8,
    home: AtomicU32,
    virtual_time: AtomicU64,
    /// When it last became runnable without a pCPU.
    ready_since: AtomicU64,
    /// It is blocked until an event (`SCHEDOP_block`, `SCHEDOP_poll`).
    pub(super) blocked: AtomicBool,
    /// A condition that `must_stop` checks has changed.
    pub(super) attention: AtomicBool,
    /// It must give up its pCPU to another vCPU.
    pub(super) preempt: AtomicBool,
    pub(super) yielding: AtomicBool,
    /// The vCPUs that may run on its core's other threads at the same time.
    group: AtomicU32,
    affinity: AtomicU64,
    /// The preferred pCPUs.
    soft_affinity: AtomicU64,
    /// The affinity to restore when an override is lifted. Zero without an override.
    overridden: AtomicU64,
    /// The port that it polls plus one, or one of the constants in `poll`.
    pub(super) polling: AtomicU64,
    account: SpinLock<Account>,
    usage: SpinLock<Usage>,
    /// The pCPU to which it is sent when it is put back, or [`NOWHERE`].
    destination: AtomicU32,
}

const NOWHERE: u32 = u32::MAX;

impl SchedulerState {
    /// The state of a vCPU that is down.
    pub(crate) fn new(group: Group) -> Self {
        Self {
            place: AtomicU8::new(Place::Off as u8),
            home: AtomicU32::new(0),
            virtual_time: AtomicU64::new(0),
            ready_since: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            preempt: AtomicBool::new(false),
            yielding: AtomicBool::new(false),
            group: AtomicU32::new(group.number()),
            affinity: AtomicU64::new(CpuSet::ALL.bits()),
            soft_affinity: AtomicU64::new(CpuSet::ALL.bits()),
            overridden: AtomicU64::new(0),
            polling: AtomicU64::new(super::poll::NOT_POLLING),
            account: SpinLock::new(Level::Accounting, Account::new(time::now())),
            usage: SpinLock::new(Level::Accounting, Usage::new()),
            destination: AtomicU32::new(NOWHERE),
        }
    }

    pub(super) fn place(&self) -> Place {
        match self.place.load(Ordering::SeqCst) {
            0 => Place::Off,
            1 => Place::Queued,
            2 => Place::Running,
            _ => Place::LazyIdle,
        }
    }

    pub(super) fn set_place(&self, place: Place) {
        self.place.store(place as u8, Ordering::SeqCst);
    }

    /// The pCPU of its home queue: the one whose queue contains, contained or will contain it.
    pub fn home(&self) -> CpuId {
        CpuId::new(self.home.load(Ordering::SeqCst)).unwrap_or(CpuId::BOOT)
    }

    pub(super) fn set_home(&self, cpu: CpuId) {
        self.home.store(cpu.number(), Ordering::SeqCst);
    }

    /// Records that a test has loaded the vCPU on this pCPU without the scheduler, or has unloaded
    /// it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn note_loaded_by_test(&self, loaded: bool) {
        self.set_home(machine::cpu::current());
        self.set_place(if loaded { Place::Running } else { Place::Off });
    }

    pub(super) fn virtual_time(&self) -> u64 {
        self.virtual_time.load(Ordering::Relaxed)
    }

    /// When it last became runnable without a pCPU.
    pub(super) fn ready_since(&self) -> u64 {
        self.ready_since.load(Ordering::Relaxed)
    }

    pub(super) fn note_ready(&self, now: u64) {
        self.ready_since.store(now, Ordering::Relaxed);
    }

    pub(super) fn set_virtual_time(&self, time: u64) {
        self.virtual_time.store(time, Ordering::Relaxed);
    }

    /// Whether it is loaded on a pCPU, so that its context is not parked.
    pub(super) fn has_cpu(&self) -> bool {
        matches!(self.place(), Place::Running | Place::LazyIdle)
    }

    /// Whether it is running on a pCPU.
    pub fn is_running(&self) -> bool {
        self.place() == Place::Running
    }

    /// Whether it is blocked until an event.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// The vCPUs that may run on its core's other threads at the same time.
    pub(super) fn group(&self) -> Group {
        Group::numbered(self.group.load(Ordering::Relaxed))
    }

    pub(super) fn set_group(&self, group: Group) {
        self.group.store(group.number(), Ordering::Relaxed);
    }

    /// The pCPUs that may run it.
    pub fn affinity(&self) -> CpuSet {
        CpuSet::from_bits(self.affinity.load(Ordering::SeqCst))
    }

    pub(super) fn set_affinity(&self, set: CpuSet) {
        self.affinity.store(set.bits(), Ordering::SeqCst);
    }

    /// The preferred pCPUs. It runs elsewhere rather than wait.
    pub fn soft_affinity(&self) -> CpuSet {
        CpuSet::from_bits(self.soft_affinity.load(Ordering::SeqCst))
    }

    pub(super) fn set_soft_affinity(&self, set: CpuSet) {
        self.soft_affinity.store(set.bits(), Ordering::SeqCst);
    }

    /// The affinity to restore when the override is lifted, if there is an override.
    pub(super) fn overridden(&self) -> Option<CpuSet> {
        Some(CpuSet::from_bits(self.overridden.load(Ordering::SeqCst))).filter(|set| !set.is_empty())
    }

    pub(super) fn set_overridden(&self, set: CpuSet) {
        self.overridden.store(set.bits(), Ordering::SeqCst);
    }

    /// Restarts its account, so that time before its domain was started does not count.
    pub(crate) fn open_account(&self) {
        *self.account.lock() = Account::new(time::now());
    }

    pub(super) fn enter(&self, state: Runstate, now: u64) {
        self.account.lock().enter(state, now);
    }

    /// Its runstate and the time in each state until now.
    pub fn runstate(&self) -> RunstateInfo {
        self.account.lock().info(time::now())
    }

    /// Its runstate and the time in each state until it entered the current one.
    pub(crate) fn runstate_at_entry(&self) -> RunstateInfo {
        self.account.lock().at_entry()
    }

    /// Records that it has run for `time` with this weight.
    pub(super) fn note_usage(&self, time: u64, weight: u32, now: u64) {
        self.usage.lock().note(time, weight, now);
    }

    /// Its recent CPU time, in virtual time.
    pub(super) fn usage(&self) -> u64 {
        self.usage.lock().at(time::now())
    }

    /// Selects another pCPU for when it is put back.
    pub(super) fn set_destination(&self, cpu: CpuId) {
        self.destination.store(cpu.number(), Ordering::Relaxed);
    }

    pub(super) fn take_destination(&self) -> Option<CpuId> {
        CpuId::new(self.destination.swap(NOWHERE, Ordering::Relaxed)).filter(|cpu| self.affinity().contains(*cpu))
    }

    /// Its CPU time in nanoseconds.
    pub fn run_time(&self) -> u64 {
        self.account.lock().time(Runstate::Running, time::now())
    }

    /// Its current runstate.
    pub fn state(&self) -> Runstate {
        self.account.lock().state()
    }
}

/// Whether the vCPU is runnable.
pub(super) fn may_run(vcpu: &Vcpu, domain: &Domain) -> bool {
    vcpu.is_up() && !vcpu.scheduling.is_blocked() && !domain.is_paused() && !domain.is_dying()
}

/// The runstate of a vCPU that is not runnable.
pub(super) fn why_not(vcpu: &Vcpu) -> Runstate {
    if vcpu.scheduling.is_blocked() { Runstate::Blocked } else { Runstate::Offline }
}
