//! What the scheduler keeps for a vCPU.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use abi::vcpu::RunstateInfo;
use machine::addr::{CpuId, CpuSet};
use machine::sync::{Level, SpinLock};
use machine::time;

use super::runstate::{Account, Runstate};
use super::usage::Usage;
use crate::domain::{Domain, Vcpu};

/// Where a vCPU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Nowhere: it may not run, or nobody has noticed yet that it may.
    Off,
    /// In a run queue, or on its way to one.
    Queued,
    /// A pCPU has it.
    Running,
    /// A pCPU has it and halts, until it may run or somebody else wants the pCPU.
    LazyIdle,
}

/// Scheduling state of a vCPU.
///
/// `place`, `home` and `virtual_time` change only under the lock of the home pCPU's queue; the rest by itself.
pub struct SchedulerState {
    place: AtomicU8,
    home: AtomicU32,
    virtual_time: AtomicU64,
    /// When it last came to have the right to run without a pCPU running it.
    ready_since: AtomicU64,
    /// It waits for an event (`SCHEDOP_block`, `SCHEDOP_poll`).
    pub(super) blocked: AtomicBool,
    /// Something that `must_stop` looks at has changed.
    pub(super) attention: AtomicBool,
    /// Somebody else is to have its pCPU.
    pub(super) preempt: AtomicBool,
    pub(super) yielding: AtomicBool,
    affinity: AtomicU64,
    /// The pCPUs that suit it best.
    soft_affinity: AtomicU64,
    /// The affinity to go back to when an override is lifted; zero without one.
    overridden: AtomicU64,
    /// The port that it polls (plus one), or one of the marks of `poll`.
    pub(super) polling: AtomicU64,
    account: SpinLock<Account>,
    usage: SpinLock<Usage>,
    /// The pCPU that is to have it when it is put back; [`NOWHERE`] for the usual.
    destination: AtomicU32,
}

const NOWHERE: u32 = u32::MAX;

impl SchedulerState {
    /// For a vCPU that is down.
    pub fn new() -> Self {
        Self {
            place: AtomicU8::new(Place::Off as u8),
            home: AtomicU32::new(0),
            virtual_time: AtomicU64::new(0),
            ready_since: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            attention: AtomicBool::new(false),
            preempt: AtomicBool::new(false),
            yielding: AtomicBool::new(false),
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

    /// The pCPU whose queue has, had or will have it.
    pub fn home(&self) -> CpuId {
        CpuId::new(self.home.load(Ordering::SeqCst)).unwrap_or(CpuId::BOOT)
    }

    pub(super) fn set_home(&self, cpu: CpuId) {
        self.home.store(cpu.number(), Ordering::SeqCst);
    }

    pub(super) fn virtual_time(&self) -> u64 {
        self.virtual_time.load(Ordering::Relaxed)
    }

    /// When it last came to have the right to run without a pCPU running it.
    pub(super) fn ready_since(&self) -> u64 {
        self.ready_since.load(Ordering::Relaxed)
    }

    pub(super) fn note_ready(&self, now: u64) {
        self.ready_since.store(now, Ordering::Relaxed);
    }

    pub(super) fn set_virtual_time(&self, time: u64) {
        self.virtual_time.store(time, Ordering::Relaxed);
    }

    /// Whether a pCPU has it, so that its context is not parked.
    pub(super) fn has_cpu(&self) -> bool {
        matches!(self.place(), Place::Running | Place::LazyIdle)
    }

    /// Whether a pCPU runs it at this moment.
    pub fn is_running(&self) -> bool {
        self.place() == Place::Running
    }

    /// Whether it waits for an event.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst)
    }

    /// The pCPUs that may run it.
    pub fn affinity(&self) -> CpuSet {
        CpuSet::from_bits(self.affinity.load(Ordering::SeqCst))
    }

    pub(super) fn set_affinity(&self, set: CpuSet) {
        self.affinity.store(set.bits(), Ordering::SeqCst);
    }

    /// The pCPUs that suit it best; it runs elsewhere rather than wait.
    pub fn soft_affinity(&self) -> CpuSet {
        CpuSet::from_bits(self.soft_affinity.load(Ordering::SeqCst))
    }

    pub(super) fn set_soft_affinity(&self, set: CpuSet) {
        self.soft_affinity.store(set.bits(), Ordering::SeqCst);
    }

    /// The affinity under an override, if there is one.
    pub(super) fn overridden(&self) -> Option<CpuSet> {
        Some(CpuSet::from_bits(self.overridden.load(Ordering::SeqCst))).filter(|set| !set.is_empty())
    }

    pub(super) fn set_overridden(&self, set: CpuSet) {
        self.overridden.store(set.bits(), Ordering::SeqCst);
    }

    /// Begins its account anew: what was before its domain began does not count.
    pub(crate) fn open_account(&self) {
        *self.account.lock() = Account::new(time::now());
    }

    pub(super) fn enter(&self, state: Runstate, now: u64) {
        self.account.lock().enter(state, now);
    }

    /// Its runstate and the time in each, up to now.
    pub fn runstate(&self) -> RunstateInfo {
        self.account.lock().info(time::now())
    }

    /// Its runstate and the time in each, up to when it entered the present one.
    pub(crate) fn runstate_at_entry(&self) -> RunstateInfo {
        self.account.lock().at_entry()
    }

    /// Notes that it has run for `time` with this weight.
    pub(super) fn note_usage(&self, time: u64, weight: u32, now: u64) {
        self.usage.lock().note(time, weight, now);
    }

    /// How much it has run of late, in virtual time.
    pub(super) fn usage(&self) -> u64 {
        self.usage.lock().at(time::now())
    }

    /// Sends it to another pCPU when it is put back.
    pub(super) fn set_destination(&self, cpu: CpuId) {
        self.destination.store(cpu.number(), Ordering::Relaxed);
    }

    pub(super) fn take_destination(&self) -> Option<CpuId> {
        CpuId::new(self.destination.swap(NOWHERE, Ordering::Relaxed)).filter(|cpu| self.affinity().contains(*cpu))
    }

    /// Nanoseconds that it has run.
    pub fn run_time(&self) -> u64 {
        self.account.lock().time(Runstate::Running, time::now())
    }

    /// Its present runstate.
    pub fn state(&self) -> Runstate {
        self.account.lock().state()
    }
}

impl Default for SchedulerState {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether nothing keeps the vCPU from running.
pub(super) fn may_run(vcpu: &Vcpu, domain: &Domain) -> bool {
    vcpu.is_up() && !vcpu.scheduling.is_blocked() && !domain.is_paused() && !domain.is_dying()
}

/// The runstate of a vCPU that may not run.
pub(super) fn why_not(vcpu: &Vcpu) -> Runstate {
    if vcpu.scheduling.is_blocked() { Runstate::Blocked } else { Runstate::Offline }
}
