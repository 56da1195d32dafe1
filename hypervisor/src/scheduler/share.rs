//! A domain's share of CPU time: its weight relative to other domains, and its cap.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use machine::addr::{CpuId, MAX_CPUS, PerCpu};
use machine::sync::{Level, SpinLock};

use super::queue::virtual_time;

/// Time that the vCPUs of a domain run on a pCPU while others wait, in nanoseconds.
pub(crate) const SLICE: u64 = 5_000_000;
/// Minimum slice of a vCPU, however many share its domain's slice.
const MIN_SLICE: u64 = 100_000;
/// The period over which a cap is enforced, in nanoseconds.
const PERIOD: u64 = 30_000_000;
const NO_CODE: u32 = u32::MAX;

/// The scheduling state of a domain.
pub struct DomainScheduling {
    weight: AtomicU32,
    cap: AtomicU32,
    /// The number of vCPUs that are running or runnable. The domain's weight is divided among them.
    active: AtomicU32,
    window: SpinLock<Window>,
    /// vCPUs in `SCHEDOP_poll`.
    pub(crate) pollers: AtomicU32,
    shutdown_code: AtomicU32,
    /// The domain's virtual time in each pCPU's queue: the time that its vCPUs have run there at
    /// the domain's whole weight, bounded by the greatest virtual time among them. Changes only
    /// under the lock of that queue.
    reached: PerCpu<AtomicU64>,
}

/// Time that a capped domain has used in the current period.
#[derive(Default)]
struct Window {
    start: u64,
    used: u64,
}

impl Window {
    /// Advances to the period of `now`. Excess use is carried over.
    const fn roll(&mut self, now: u64, quota: u64) {
        let periods = now.saturating_sub(self.start) / PERIOD;
        self.start += periods * PERIOD;
        self.used = self.used.saturating_sub(quota.saturating_mul(periods));
    }
}

impl DomainScheduling {
    /// The state of a domain with this weight and cap (in percent of a pCPU, zero for no cap).
    pub const fn new(weight: u16, cap: u16) -> Self {
        Self {
            weight: AtomicU32::new(weight as u32),
            cap: AtomicU32::new(cap as u32),
            active: AtomicU32::new(0),
            window: SpinLock::new(Level::Accounting, Window { start: 0, used: 0 }),
            pollers: AtomicU32::new(0),
            shutdown_code: AtomicU32::new(NO_CODE),
            reached: PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]),
        }
    }

    /// Weight and cap.
    pub fn share(&self) -> (u32, u32) {
        (self.weight.load(Ordering::Relaxed), self.cap.load(Ordering::Relaxed))
    }

    /// Sets the weight, 1 to 65535.
    pub(super) fn set_weight(&self, weight: u16) {
        self.weight.store(u32::from(weight.max(1)), Ordering::Relaxed);
    }

    /// Sets the cap in percent of one pCPU. Zero means no cap.
    pub(super) fn set_cap(&self, cap: u16) {
        self.cap.store(u32::from(cap), Ordering::Relaxed);
    }

    pub(super) fn note_active(&self, more: bool) {
        if more {
            self.active.fetch_add(1, Ordering::Relaxed);
        } else {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The weight of each of its running and runnable vCPUs.
    pub(super) fn vcpu_weight(&self) -> u32 {
        let weight = self.weight.load(Ordering::Relaxed);
        (weight / self.active.load(Ordering::Relaxed).max(1)).max(1)
    }

    /// Records that a vCPU of the domain has run for `time` on the pCPU, until `own` in the virtual
    /// time of its queue.
    pub(super) fn note_run(&self, cpu: CpuId, time: u64, own: u64) {
        let reached = &self.reached[cpu];
        let before = reached.load(Ordering::Relaxed);
        let used = virtual_time(time, self.weight.load(Ordering::Relaxed));
        reached.store(before.saturating_add(used).min(own).max(before), Ordering::Relaxed);
    }

    /// The virtual time at which a vCPU of the domain resumes if it went to sleep at `own`, in a
    /// queue where none resumes below `earliest`. All vCPUs of the domain share that credit.
    pub(super) fn after_sleep(&self, cpu: CpuId, own: u64, earliest: u64) -> u64 {
        let reached = &self.reached[cpu];
        let least = earliest.max(reached.load(Ordering::Relaxed));
        reached.store(least, Ordering::Relaxed);
        own.max(least)
    }

    /// The slice of one of its vCPUs while vCPUs of other domains wait. They share one slice.
    pub(super) fn slice(&self) -> u64 {
        (SLICE / u64::from(self.active.load(Ordering::Relaxed).max(1))).max(MIN_SLICE)
    }

    fn quota(&self) -> Option<u64> {
        let cap = u64::from(self.cap.load(Ordering::Relaxed));
        (cap != 0).then_some(PERIOD * cap / 100)
    }

    /// Adds time that the domain has used.
    pub(super) fn bill(&self, time: u64) {
        if self.quota().is_some() {
            self.window.lock().used += time;
        }
    }

    /// The time that a vCPU of the domain may run from `now` on.
    ///
    /// # Errors
    /// The cap has been reached; the value is the time of the next check.
    pub(super) fn allowance(&self, now: u64) -> Result<u64, u64> {
        let Some(quota) = self.quota() else { return Ok(u64::MAX) };
        let mut window = self.window.lock();
        window.roll(now, quota);
        if window.used < quota { Ok(quota - window.used) } else { Err(window.start + PERIOD) }
    }

    /// Latches the code with which the domain's end will be reported. The first one applies.
    pub fn latch_shutdown_code(&self, code: u32) {
        // On failure, an earlier code is latched and kept.
        let _ = self.shutdown_code.compare_exchange(NO_CODE, code, Ordering::SeqCst, Ordering::Relaxed);
    }

    /// Clears the code, since the domain continues.
    pub fn forget_shutdown_code(&self) {
        self.shutdown_code.store(NO_CODE, Ordering::SeqCst);
    }

    /// The latched code, if any.
    pub fn shutdown_code(&self) -> Option<u32> {
        Some(self.shutdown_code.load(Ordering::SeqCst)).filter(|code| *code != NO_CODE)
    }
}

#[cfg(test)]
mod tests {
    use super::{DomainScheduling, PERIOD};

    #[test]
    fn a_cap_holds_over_time_and_excess_is_paid_back() {
        let share = DomainScheduling::new(256, 20);
        let (mut now, mut used) = (0, 0);
        while now < 100 * PERIOD {
            match share.allowance(now) {
                // The vCPU always stops slightly late.
                Ok(allowed) => {
                    let time = allowed + 500_000;
                    share.bill(time);
                    now += time;
                    used += time;
                }
                Err(until) => {
                    assert!(until > now && until <= now + PERIOD);
                    now = until;
                }
            }
        }
        assert!(used.abs_diff(20 * PERIOD) < PERIOD, "used {used}");
    }

    #[test]
    fn without_a_cap_the_allowance_is_unlimited() {
        let share = DomainScheduling::new(256, 0);
        share.bill(u64::MAX / 2);
        assert_eq!(share.allowance(0), Ok(u64::MAX));
    }

    #[test]
    fn the_weight_is_divided_among_active_vcpus() {
        let share = DomainScheduling::new(256, 0);
        assert_eq!(share.vcpu_weight(), 256);
        (0..4).for_each(|_| share.note_active(true));
        assert_eq!(share.vcpu_weight(), 64);
        share.set_weight(0);
        assert_eq!(share.vcpu_weight(), 1);
    }

    #[test]
    fn the_first_shutdown_code_counts() {
        let share = DomainScheduling::new(1, 0);
        assert_eq!(share.shutdown_code(), None);
        share.latch_shutdown_code(3);
        share.latch_shutdown_code(0);
        assert_eq!(share.shutdown_code(), Some(3));
    }
}
