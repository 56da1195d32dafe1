//! A vCPU's timers: single-shot, periodic, and the timeout of a poll.

use alloc::sync::Arc;
use core::sync::atomic::AtomicU32;

use abi::xen::virq;
use machine::sync::{Level, SpinLock};
use machine::time;

use super::areas::Areas;
use crate::domain::Vcpu;
use crate::timers::{self, Action, Token};

/// One of a vCPU's timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    SingleShot,
    Periodic,
    Poll,
}

impl Kind {
    /// The function that handles the timer's expiry.
    fn handler(self) -> fn(&Arc<Vcpu>, Token, u64) {
        match self {
            Self::SingleShot => |vcpu, token, now| fire(vcpu, Self::SingleShot, token, now),
            Self::Periodic => |vcpu, token, now| fire(vcpu, Self::Periodic, token, now),
            Self::Poll => |vcpu, token, now| fire(vcpu, Self::Poll, token, now),
        }
    }
}

/// The timers and areas of a vCPU.
pub struct VcpuTime {
    timers: SpinLock<Timers>,
    pub(super) areas: SpinLock<Areas>,
    /// Version of the last time information.
    pub(super) version: AtomicU32,
}

struct Timers {
    single_shot: Option<Token>,
    poll: Option<Token>,
    periodic: Option<Token>,
    /// Zero if there is no periodic timer.
    period: u64,
    next_tick: u64,
}

impl Timers {
    const fn token(&mut self, kind: Kind) -> &mut Option<Token> {
        match kind {
            Kind::SingleShot => &mut self.single_shot,
            Kind::Periodic => &mut self.periodic,
            Kind::Poll => &mut self.poll,
        }
    }

    fn stop(&mut self, kind: Kind) {
        if let Some(token) = self.token(kind).take() {
            timers::cancel(token);
        }
    }

    fn start(&mut self, vcpu: &Arc<Vcpu>, kind: Kind, deadline: u64) {
        self.stop(kind);
        *self.token(kind) = Some(timers::add(deadline, Action::Vcpu(Arc::downgrade(vcpu), kind.handler())));
    }
}

impl VcpuTime {
    /// A vCPU's state without timers and areas.
    pub const fn new() -> Self {
        Self {
            timers: SpinLock::new(
                Level::Vcpu,
                Timers { single_shot: None, poll: None, periodic: None, period: 0, next_tick: 0 },
            ),
            areas: SpinLock::new(Level::Vcpu, Areas::new()),
            version: AtomicU32::new(0),
        }
    }

    /// Sets the single-shot timer, which raises `VIRQ_TIMER` at `deadline`. A previous deadline is
    /// dropped.
    pub(crate) fn set_single_shot(&self, vcpu: &Arc<Vcpu>, deadline: u64) {
        self.timers.lock().start(vcpu, Kind::SingleShot, deadline);
    }

    /// Stops the single-shot timer.
    pub(crate) fn stop_single_shot(&self) {
        self.timers.lock().stop(Kind::SingleShot);
    }

    /// Ends the vCPU's poll at `deadline`.
    pub(crate) fn set_poll_limit(&self, vcpu: &Arc<Vcpu>, deadline: u64) {
        self.timers.lock().start(vcpu, Kind::Poll, deadline);
    }

    /// Removes the timeout of the poll.
    pub(crate) fn stop_poll_limit(&self) {
        self.timers.lock().stop(Kind::Poll);
    }

    /// Sets the periodic timer, which raises `VIRQ_TIMER` every `period` nanoseconds while the vCPU
    /// runs. Zero stops it.
    pub(crate) fn set_period(&self, vcpu: &Arc<Vcpu>, period: u64) {
        let mut timers = self.timers.lock();
        timers.stop(Kind::Periodic);
        timers.period = period;
        timers.next_tick = time::now().saturating_add(period);
        if period != 0 && vcpu.scheduling.is_running() {
            let deadline = timers.next_tick;
            timers.start(vcpu, Kind::Periodic, deadline);
        }
    }

    /// Stops all timers of a vCPU that will not run again.
    pub(crate) fn cancel_all(&self) {
        let mut timers = self.timers.lock();
        timers.period = 0;
        for kind in [Kind::SingleShot, Kind::Periodic, Kind::Poll] {
            timers.stop(kind);
        }
    }

    /// Resumes the periodic timer of a vCPU that is about to run on this pCPU. Missed ticks are
    /// merged into one.
    pub(crate) fn start_periodic(&self, vcpu: &Arc<Vcpu>) {
        let mut timers = self.timers.lock();
        if timers.period == 0 {
            return;
        }
        let now = time::now();
        let missed = timers.next_tick <= now;
        if missed {
            timers.next_tick = now.saturating_add(timers.period);
        }
        let deadline = timers.next_tick;
        timers.start(vcpu, Kind::Periodic, deadline);
        drop(timers);
        if missed {
            crate::event_channel::raise_virq(vcpu, virq::TIMER);
        }
    }

    /// Suspends the periodic timer of a vCPU that does not run, so that ticks cost no work while it
    /// is off its pCPU.
    pub(crate) fn stop_periodic_ticks(&self) {
        let mut timers = self.timers.lock();
        if timers.period != 0 {
            timers.stop(Kind::Periodic);
        }
    }
}

impl Default for VcpuTime {
    fn default() -> Self {
        Self::new()
    }
}

/// Handles the expiry of a vCPU's timer.
fn fire(vcpu: &Arc<Vcpu>, kind: Kind, token: Token, now: u64) {
    let mut timers = vcpu.time.timers.lock();
    // The timer may have been stopped or restarted since it was removed from the queue.
    if *timers.token(kind) != Some(token) {
        return;
    }
    *timers.token(kind) = None;
    if kind == Kind::Periodic && timers.period != 0 {
        // Late ticks are skipped.
        let late = now.saturating_sub(timers.next_tick) / timers.period;
        timers.next_tick = timers.next_tick.saturating_add((late + 1) * timers.period);
        let deadline = timers.next_tick;
        timers.start(vcpu, Kind::Periodic, deadline);
    }
    drop(timers);
    match kind {
        Kind::Poll => crate::scheduler::poll_timeout(vcpu),
        Kind::SingleShot | Kind::Periodic => crate::event_channel::raise_virq(vcpu, virq::TIMER),
    }
}
