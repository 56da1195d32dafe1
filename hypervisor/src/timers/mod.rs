//! The timers of each pCPU, and the deadline of its hardware timer.
//!
//! A timer contains the function to call when it is due. Its vCPU or domain is referenced weakly,
//! so that a pending timer keeps nothing alive.

mod queue;

use alloc::sync::{Arc, Weak};

use machine::addr::{CpuId, MAX_CPUS, PerCpu};
use machine::sync::{Level, SpinLock};
use machine::{cpu, time};

use crate::domain::{Domain, Vcpu};
use queue::TimerQueue;

/// The effect of a timer that is due.
pub(crate) enum Action {
    /// Calls the function with the vCPU, the timer's token, and the current time.
    Vcpu(Weak<Vcpu>, fn(&Arc<Vcpu>, Token, u64)),
    /// Calls the function with the domain, this number, and the timer's token.
    Domain(Weak<Domain>, usize, fn(&Arc<Domain>, usize, Token)),
    /// Calls the function.
    Host(fn()),
    /// Only interrupts the guest that this pCPU runs.
    Interruption,
}

/// Maximum number of timers that are served before the pCPU checks for other work.
const MAX_AT_ONCE: usize = 64;

/// Identifies a timer that has been set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    cpu: CpuId,
    key: (u64, u64),
}

struct CpuTimers {
    queue: TimerQueue<Action>,
    /// The scheduler's deadline: the end of a slice or of a cap's period.
    scheduler: u64,
    /// The deadline that the hardware was last set to.
    programmed: u64,
}

static TIMERS: PerCpu<SpinLock<CpuTimers>> = PerCpu::new(
    [const { SpinLock::new(Level::Timer, CpuTimers { queue: TimerQueue::new(), scheduler: u64::MAX, programmed: u64::MAX }) };
        MAX_CPUS],
);

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

/// Sets a timer on this pCPU. A deadline in the past is due at once.
pub(crate) fn add(deadline: u64, action: Action) -> Token {
    let cpu = cpu::current();
    let mut timers = TIMERS[cpu].lock();
    let key = timers.queue.insert(deadline, action);
    timers.program();
    Token { cpu, key }
}

/// Interrupts the guest that this pCPU runs at `deadline`.
pub(crate) fn interrupt_at(deadline: u64) {
    add(deadline, Action::Interruption);
}

/// Cancels a timer on any pCPU. If it is already being served, its handler detects that by the
/// token.
pub(crate) fn cancel(token: Token) {
    let mut timers = TIMERS[token.cpu].lock();
    let action = timers.queue.remove(token.key);
    if token.cpu == cpu::current() {
        timers.program();
    }
    drop(timers);
    drop(action);
}

/// Sets the scheduler's deadline on this pCPU. `u64::MAX` means none.
pub(crate) fn set_scheduler_deadline(deadline: u64) {
    let mut timers = TIMERS[cpu::current()].lock();
    timers.scheduler = deadline;
    timers.program();
}

/// Serves this pCPU's due timers, after the hardware has reported its deadline. If there are more
/// than [`MAX_AT_ONCE`], the hardware reports the next one at once, so that other pending work can
/// run in between. The caller must not hold a lock.
pub(crate) fn run_due() {
    let cpu = cpu::current();
    let now = time::now();
    for _ in 0..MAX_AT_ONCE {
        let mut timers = TIMERS[cpu].lock();
        let Some((key, action)) = timers.queue.pop_due(now) else {
            // The hardware deadline has expired. The scheduler checks its own deadline itself.
            timers.programmed = u64::MAX;
            if timers.scheduler <= now {
                timers.scheduler = u64::MAX;
            }
            timers.program();
            return;
        };
        drop(timers);
        serve(action, Token { cpu, key }, now);
    }
    let mut timers = TIMERS[cpu].lock();
    timers.programmed = u64::MAX;
    timers.program();
}

/// Runs a timer's action.
fn serve(action: Action, token: Token, now: u64) {
    match action {
        Action::Vcpu(vcpu, fire) => {
            if let Some(vcpu) = vcpu.upgrade() {
                fire(&vcpu, token, now);
            }
        }
        Action::Domain(domain, number, fire) => {
            if let Some(domain) = domain.upgrade() {
                fire(&domain, number, token);
            }
        }
        Action::Host(fire) => fire(),
        Action::Interruption => {}
    }
}

#[cfg(test)]
mod tests;
