//! A vCPU's recent CPU time, for comparing vCPUs of different pCPUs.

use super::queue::virtual_time;

/// log2 of the half-life of used time in nanoseconds, about half a second.
const HALF_LIFE: u32 = 29;

/// Virtual time that a vCPU has run, with older time weighted less. All vCPUs' times are halved at
/// the same moments, so they are comparable.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    epoch: u64,
    time: u64,
}

impl Usage {
    pub(super) const fn new() -> Self {
        Self { epoch: 0, time: 0 }
    }

    /// Adds `time` that it has run with this weight, up to `now`.
    pub(super) fn note(&mut self, time: u64, weight: u32, now: u64) {
        self.time = self.at(now).saturating_add(virtual_time(time, weight));
        self.epoch = self.epoch.max(now >> HALF_LIFE);
    }

    /// Its recent time, as of `now`.
    pub(super) fn at(&self, now: u64) -> u64 {
        let halvings = (now >> HALF_LIFE).saturating_sub(self.epoch);
        u32::try_from(halvings).ok().and_then(|halvings| self.time.checked_shr(halvings)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF_LIFE, Usage};

    #[test]
    fn older_time_counts_less() {
        let mut usage = Usage::new();
        usage.note(1000, 256, 0);
        usage.note(1000, 512, 1);
        assert_eq!(usage.at(2), 1500);
        assert_eq!(usage.at(1 << HALF_LIFE), 750);
        usage.note(50, 256, 2 << HALF_LIFE);
        assert_eq!(usage.at(2 << HALF_LIFE), 425);
        assert_eq!(usage.at(0), 425, "a clock that is slightly behind is harmless");
        assert_eq!(usage.at(u64::MAX), 0);
    }
}
