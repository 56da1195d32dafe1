//! The timers of each pCPU, and the deadline that its hardware is set to.

use alloc::sync::Weak;

use machine::addr::{CpuId, MAX_CPUS};
use machine::sync::{Level, SpinLock};
use machine::{cpu, time};

use super::queue::TimerQueue;
use super::vcpu::Kind;
use crate::domain::{Domain, Vcpu};

/// What a timer is for.
pub(super) enum Action {
    /// One of a vCPU's own.
    Vcpu(Weak<Vcpu>, Kind),
    /// A domain's watchdog of that number.
    Watchdog(Weak<Domain>, usize),
    /// Nothing but that this pCPU comes back from its guest.
    Interruption,
}

/// Names a timer that has been set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    cpu: CpuId,
    key: (u64, u64),
}

struct CpuTimers {
    queue: TimerQueue<Action>,
    /// The scheduler's own deadline: the end of a slice or of a cap's period.
    scheduler: u64,
    /// What the hardware was last set to.
    programmed: u64,
}

static TIMERS: [SpinLock<CpuTimers>; MAX_CPUS] = [const {
    SpinLock::new(Level::Timer, CpuTimers { queue: TimerQueue::new(), scheduler: u64::MAX, programmed: u64::MAX })
}; MAX_CPUS];

impl CpuTimers {
    /// Sets this pCPU's hardware to the earliest deadline.
    fn program(&mut self) {
        let next = self.queue.next().unwrap_or(u64::MAX).min(self.scheduler);
        if next != self.programmed {
            self.programmed = next;
            time::set_deadline(next);
        }
    }
}

/// Sets a timer on this pCPU; a deadline that has passed is due at once.
pub(super) fn add(deadline: u64, action: Action) -> Token {
    let cpu = cpu::current();
    let mut timers = TIMERS[cpu.index()].lock();
    let key = timers.queue.insert(deadline, action);
    timers.program();
    Token { cpu, key }
}

/// Has the guest that this pCPU runs interrupted at `deadline`.
pub(crate) fn interrupt_at(deadline: u64) {
    add(deadline, Action::Interruption);
}

/// Takes a timer back, wherever it was set. One that is being served already finds out by its token.
pub(super) fn cancel(token: Token) {
    let mut timers = TIMERS[token.cpu.index()].lock();
    let action = timers.queue.remove(token.key);
    if token.cpu == cpu::current() {
        timers.program();
    }
    drop(timers);
    drop(action);
}

/// Sets the scheduler's deadline on this pCPU; `u64::MAX` for none.
pub(crate) fn set_scheduler_deadline(deadline: u64) {
    let mut timers = TIMERS[cpu::current().index()].lock();
    timers.scheduler = deadline;
    timers.program();
}

/// Serves this pCPU's timers that are due, after the hardware has reported its deadline. No lock may be held.
pub(crate) fn run_due() {
    let cpu = cpu::current();
    let now = time::now();
    loop {
        let mut timers = TIMERS[cpu.index()].lock();
        let Some((key, action)) = timers.queue.pop_due(now) else {
            // The deadline has been used up; the scheduler's is its own to look at.
            timers.programmed = u64::MAX;
            if timers.scheduler <= now {
                timers.scheduler = u64::MAX;
            }
            timers.program();
            return;
        };
        drop(timers);
        let token = Token { cpu, key };
        match action {
            Action::Vcpu(vcpu, kind) => {
                if let Some(vcpu) = vcpu.upgrade() {
                    super::vcpu::fire(&vcpu, kind, token, now);
                }
            }
            Action::Watchdog(domain, number) => {
                if let Some(domain) = domain.upgrade() {
                    super::watchdog::fire(&domain, number, token);
                }
            }
            Action::Interruption => {}
        }
    }
}
