//! The algorithm of a pCPU's run queue, without locks or clocks.
//!
//! Each vCPU has a virtual time: the time that it has run, divided by its weight. The vCPU with the
//! smallest virtual time runs next. The queue's clock follows the smallest virtual time and never
//! decreases. A vCPU that has slept resumes at most [`CREDIT`] below the clock, which is enough to
//! run at once but not enough to delay the others for long.
//!
//! Virtual times of different queues are not comparable. A vCPU that changes its queue keeps its
//! lag, its distance from the clock.

use alloc::collections::BTreeMap;

/// The weight for which virtual time advances at the rate of real time.
pub(super) const USUAL_WEIGHT: u32 = 256;
/// How far below the clock a vCPU that has slept may be, in nanoseconds of virtual time.
pub(super) const CREDIT: u64 = 5_000_000;
/// How far a waking vCPU must be below the running one to preempt it.
pub(super) const PREEMPTION: u64 = 1_000_000;
/// The initial value of clocks, large enough that subtractions from the clock do not underflow.
const EPOCH: u64 = 1 << 50;

/// Virtual time that passes while a vCPU of this weight runs for `time` nanoseconds. Exact for at
/// most two years.
pub(super) fn virtual_time(time: u64, weight: u32) -> u64 {
    time.saturating_mul(u64::from(USUAL_WEIGHT)) / u64::from(weight.max(1))
}

/// The running vCPU.
struct Running {
    virtual_time: u64,
    weight: u32,
    since: u64,
    /// Time that it has run and that `bill` has not returned yet.
    unbilled: u64,
}

/// The running vCPU and the waiting ones.
pub(super) struct RunQueue<T> {
    waiting: BTreeMap<(u64, u64), T>,
    running: Option<Running>,
    sequence: u64,
    clock: u64,
    progress: u64,
}

impl<T> RunQueue<T> {
    pub(super) const fn new() -> Self {
        Self { waiting: BTreeMap::new(), running: None, sequence: 0, clock: EPOCH, progress: EPOCH }
    }

    /// The number of waiting vCPUs.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The waiting vCPUs in order of virtual time.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.waiting.values()
    }

    /// How far the clock has advanced since the queue was created. Queues with equal progress have
    /// served their vCPUs equally.
    pub(super) const fn progress(&self) -> u64 {
        self.progress
    }

    /// Raises the progress to at least `least`.
    pub(super) fn raise_progress(&mut self, least: u64) {
        self.progress = self.progress.max(least);
    }

    /// The distance of a virtual time of this queue from its clock, bounded below by the credit.
    pub(super) const fn lag(&self, virtual_time: u64) -> i64 {
        let lag = virtual_time.wrapping_sub(self.clock).cast_signed();
        if lag < -CREDIT.cast_signed() { -CREDIT.cast_signed() } else { lag }
    }

    /// Queues `item` at this distance from the clock.
    pub(super) fn admit(&mut self, lag: i64, item: T) {
        let virtual_time = self.clock.saturating_add_signed(lag);
        self.insert(virtual_time, item);
    }

    /// The smallest virtual time at which a vCPU that has slept resumes.
    pub(super) const fn earliest(&self) -> u64 {
        self.clock - CREDIT
    }

    fn insert(&mut self, virtual_time: u64, item: T) {
        self.sequence += 1;
        self.waiting.insert((virtual_time, self.sequence), item);
    }

    /// Whether the first waiting vCPU should preempt the running one, as of the last `charge`.
    pub(super) fn preempts(&self) -> bool {
        match (&self.running, self.waiting.first_key_value()) {
            (Some(running), Some(((first, _), _))) => first + PREEMPTION < running.virtual_time,
            (None, Some(_)) => true,
            _ => false,
        }
    }

    /// Removes the first waiting vCPU that satisfies `suits`, and returns it with its lag, to move
    /// it to another queue.
    pub(super) fn take(&mut self, mut suits: impl FnMut(&T) -> bool) -> Option<(T, i64)> {
        let key = *self.waiting.iter().find(|(_, item)| suits(item))?.0;
        let item = self.waiting.remove(&key)?;
        Some((item, key.0.wrapping_sub(self.clock).cast_signed()))
    }

    /// Removes the waiting vCPU of highest rank among those that have one, and returns it with its
    /// lag, to move it to another queue.
    pub(super) fn take_highest(&mut self, rank: impl Fn(&T) -> Option<u64>) -> Option<(T, i64)> {
        let ranked = self.waiting.iter().filter_map(|(key, item)| Some((rank(item)?, *key)));
        let (_, key) = ranked.max_by_key(|(rank, _)| *rank)?;
        let item = self.waiting.remove(&key)?;
        Some((item, key.0.wrapping_sub(self.clock).cast_signed()))
    }

    /// Removes the first waiting vCPU. [`RunQueue::start`] must follow.
    pub(super) fn next(&mut self) -> Option<(T, u64)> {
        self.waiting.pop_first().map(|((virtual_time, _), item)| (item, virtual_time))
    }

    /// Removes the first waiting vCPU that satisfies `suits`. [`RunQueue::start`] must follow.
    pub(super) fn next_where(&mut self, mut suits: impl FnMut(&T) -> bool) -> Option<(T, u64)> {
        let key = *self.waiting.iter().find(|(_, item)| suits(item))?.0;
        self.waiting.remove(&key).map(|item| (item, key.0))
    }

    /// Records that a vCPU runs from `now` on.
    pub(super) fn start(&mut self, virtual_time: u64, weight: u32, now: u64) {
        self.running = Some(Running { virtual_time, weight: weight.max(1), since: now, unbilled: 0 });
    }

    /// Advances the virtual time of the running vCPU, and the clock.
    pub(super) fn charge(&mut self, now: u64) {
        if let Some(running) = &mut self.running {
            let time = now.saturating_sub(running.since);
            if time == 0 {
                return;
            }
            running.since = running.since.max(now);
            running.unbilled += time;
            running.virtual_time = running.virtual_time.saturating_add(virtual_time(time, running.weight));
        }
        let first = self.waiting.first_key_value().map(|((time, _), _)| *time);
        let running = self.running.as_ref().map(|running| running.virtual_time);
        if let Some(behind) = [first, running].into_iter().flatten().min()
            && behind > self.clock
        {
            self.progress += behind - self.clock;
            self.clock = behind;
        }
    }

    /// Real time that the running vCPU has used since the last call, and its virtual time, as of
    /// the last `charge`.
    pub(super) fn bill(&mut self) -> (u64, u64) {
        let clock = self.clock;
        self.running
            .as_mut()
            .map_or((0, clock), |running| (core::mem::take(&mut running.unbilled), running.virtual_time))
    }

    /// Stops the running vCPU. Returns its virtual time, as of the last `charge`.
    pub(super) fn stop(&mut self) -> u64 {
        self.running.take().map_or(self.clock, |running| running.virtual_time)
    }

    /// Queues the vCPU that has just stopped.
    pub(super) fn put_back(&mut self, virtual_time: u64, item: T) {
        self.insert(virtual_time, item);
    }

    /// The virtual time that places a vCPU after the first waiting one, increased by at most
    /// `most`.
    pub(super) fn after_first(&self, virtual_time: u64, most: u64) -> u64 {
        let first = self.waiting.first_key_value().map_or(virtual_time, |((time, _), _)| *time);
        virtual_time.max(first).min(virtual_time.saturating_add(most))
    }
}

#[cfg(test)]
mod tests {
    use super::{CREDIT, RunQueue, USUAL_WEIGHT};
    use std::vec;
    use std::vec::Vec;

    const SLICE: u64 = 10_000_000;

    /// Runs always-busy vCPUs of these weights for `slices` slices. Returns the time that each got.
    fn share(weights: &[u32], slices: u64) -> Vec<u64> {
        let mut queue = RunQueue::new();
        let mut got = vec![0; weights.len()];
        for index in 0..weights.len() {
            queue.admit(0, index);
        }
        for slice in 0..slices {
            let now = slice * SLICE;
            let (index, time) = queue.next().unwrap();
            queue.start(time, weights[index], now);
            queue.charge(now + SLICE);
            got[index] += queue.bill().0;
            let time = queue.stop();
            queue.put_back(time, index);
        }
        got
    }

    #[test]
    fn time_is_shared_by_weight() {
        let weights = [256, 512, 128, 1024];
        let got = share(&weights, 10_000);
        let all: u64 = got.iter().sum();
        for (weight, got) in weights.iter().zip(&got) {
            let fair = all * u64::from(*weight) / 1920;
            assert!(got.abs_diff(fair) < 3 * SLICE, "weight {weight} got {got}, not {fair}");
        }
    }

    #[test]
    fn extreme_weights_starve_no_vcpu() {
        let got = share(&[1, 65_535], 200_000);
        assert!(got[0] >= SLICE);
        assert!(got[1] > 60_000 * got[0] / 2);
    }

    #[test]
    fn a_sleeper_preempts_a_busy_vcpu_at_once() {
        let mut queue = RunQueue::new();
        queue.admit(0, "busy");
        let (_, time) = queue.next().unwrap();
        queue.start(time, USUAL_WEIGHT, 0);
        queue.charge(1_000_000_000);
        // It went to sleep when the clock had its initial value.
        queue.admit(queue.lag(time), "sleeper");
        assert!(queue.preempts());
        let first = queue.next().unwrap().1;
        assert!(first + CREDIT >= queue.clock, "the credit is bounded");
    }

    #[test]
    fn a_vcpu_that_sleeps_briefly_gains_nothing() {
        let mut queue = RunQueue::new();
        queue.admit(0, "busy");
        queue.admit(0, "naps");
        let mut used = [0, 0];
        let mut now = 0;
        for _ in 0..10_000 {
            let (item, time) = queue.next().unwrap();
            queue.start(time, USUAL_WEIGHT, now);
            now += SLICE / 2;
            queue.charge(now);
            used[usize::from(item == "naps")] += queue.bill().0;
            let time = queue.stop();
            let lag = queue.lag(time);
            queue.admit(lag, item);
        }
        assert!(used[1] <= used[0] + 2 * SLICE);
    }

    #[test]
    fn the_clock_never_decreases() {
        let mut queue = RunQueue::new();
        let mut last = queue.clock;
        let mut random = 1u64;
        let mut now = 0;
        for item in 0..1000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            queue.admit((random >> 40).cast_signed() - (1 << 23), item);
            let (item, time) = queue.next().unwrap();
            queue.start(time, 1 + item % 700, now);
            now += random >> 44;
            queue.charge(now);
            let time = queue.stop();
            queue.put_back(time, item);
            assert!(queue.clock >= last);
            last = queue.clock;
        }
    }

    #[test]
    fn a_yield_lets_the_next_one_run() {
        let mut queue = RunQueue::new();
        queue.admit(0, "other");
        let behind = queue.clock - 5_000_000;
        let time = queue.after_first(behind, SLICE);
        queue.put_back(time, "yields");
        assert_eq!(queue.next().unwrap().0, "other");
        // A vCPU far below the clock gives up at most a slice.
        assert_eq!(RunQueue::<()>::new().after_first(7, SLICE), 7);
        let far = queue.clock - 100 * SLICE;
        assert_eq!(queue.after_first(far, SLICE), far + SLICE);
    }
}
