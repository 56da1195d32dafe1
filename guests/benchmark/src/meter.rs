//! Measures the time of the relevant part of a row.

use crate::system;

/// Called with `begin` and `end` around the measured part.
pub(crate) type Mark<'a> = &'a mut dyn FnMut(&str);

/// One round of one row.
pub(crate) struct Meter<'a> {
    times: u32,
    ticks: Option<u64>,
    mark: Option<Mark<'a>>,
}

impl<'a> Meter<'a> {
    /// A round of `times` operations.
    pub(crate) const fn new(times: u32) -> Self {
        Self { times, ticks: None, mark: None }
    }

    /// A round of `times` operations that is observed from outside.
    pub(crate) const fn watched(times: u32, mark: Mark<'a>) -> Self {
        Self { times, ticks: None, mark: Some(mark) }
    }

    /// The number of operations.
    pub(crate) const fn times(&self) -> u32 {
        self.times
    }

    /// Runs one operation `times` times.
    pub(crate) fn each(&mut self, mut operation: impl FnMut()) {
        let times = self.times;
        self.whole(|| (0..times).for_each(|_| operation()));
    }

    /// Runs all operations.
    pub(crate) fn whole(&mut self, operations: impl FnOnce()) {
        let mut mark = |what| {
            if let Some(mark) = &mut self.mark {
                mark(what);
            }
        };
        mark("begin");
        let start = system::ticks();
        operations();
        self.ticks = Some(system::ticks() - start);
        mark("end");
    }

    /// Subtracts `ticks` per operation.
    pub(crate) fn take_off(&mut self, ticks: u64) {
        let all = ticks * u64::from(self.times);
        self.ticks = self.ticks.map(|total| total.saturating_sub(all));
    }

    /// Ticks per operation; `None` if the row could not run here.
    pub(crate) fn each_took(&self) -> Option<u64> {
        self.ticks.map(|ticks| ticks / u64::from(self.times))
    }
}
