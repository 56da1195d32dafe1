//! How much CPU time a vCPU has had of late, to compare vCPUs of different pCPUs.

use super::queue::virtual_time;

/// log2 of the nanoseconds after which what was used counts half: about half a second.
const HALF_LIFE: u32 = 29;

/// Virtual time that a vCPU has run, older time counting less. All are halved at the same moments, so they compare.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    epoch: u64,
    time: u64,
}

impl Usage {
    pub(super) const fn new() -> Self {
        Self { epoch: 0, time: 0 }
    }

    /// Notes that it has run for `time` with this weight, up to `now`.
    pub(super) fn note(&mut self, time: u64, weight: u32, now: u64) {
        self.time = self.at(now).saturating_add(virtual_time(time, weight));
        self.epoch = self.epoch.max(now >> HALF_LIFE);
    }

    /// What it has had, as of `now`.
    pub(super) fn at(&self, now: u64) -> u64 {
        let halvings = (now >> HALF_LIFE).saturating_sub(self.epoch);
        u32::try_from(halvings).ok().and_then(|halvings| self.time.checked_shr(halvings)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF_LIFE, Usage};

    #[test]
    fn what_is_long_ago_counts_less() {
        let mut usage = Usage::new();
        usage.note(1000, 256, 0);
        usage.note(1000, 512, 1);
        assert_eq!(usage.at(2), 1500);
        assert_eq!(usage.at(1 << HALF_LIFE), 750);
        usage.note(50, 256, 2 << HALF_LIFE);
        assert_eq!(usage.at(2 << HALF_LIFE), 425);
        assert_eq!(usage.at(0), 425, "a clock that is a little behind does no harm");
        assert_eq!(usage.at(u64::MAX), 0);
    }
}
