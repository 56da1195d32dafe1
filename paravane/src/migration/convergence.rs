//! When a live migration suspends the guest: by the measured rates of what the guest writes and of
//! what the link carries.

use std::time::Duration;

use super::Options;

/// What a live migration does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another round.
    Continue,
    /// Suspend the guest and send the rest.
    Stop,
    /// Give up; the guest continues here.
    Cancel,
}

/// A round that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Pages that it had to send.
    pub pages: u64,
    /// Those of them that were not zero.
    pub sent: u64,
    /// Time that it took, until the target had all of them.
    pub time: Duration,
    /// Pages that the guest wrote meanwhile.
    pub dirtied: u64,
}

/// The percentages to which a guest is slowed down, one after the other.
pub const THROTTLE: [u32; 4] = [50, 25, 10, 5];

/// A guest is slowed down after this many rounds that made too little progress.
const PATIENCE: u32 = 3;

/// A round makes progress if it leaves less than this share of the pages before it, in percent.
const PROGRESS: u64 = 80;

/// The rounds so far.
#[derive(Clone, Debug, Default)]
pub struct Convergence {
    last: Option<Round>,
    /// Rounds in succession that made too little progress.
    stalled: u32,
    throttled: usize,
}

impl Convergence {
    /// Notes a complete round.
    pub fn note(&mut self, round: Round) {
        let progress = round.dirtied.saturating_mul(100) < round.pages.saturating_mul(PROGRESS);
        self.stalled = if progress { 0 } else { self.stalled + 1 };
        self.last = Some(round);
    }

    /// Estimated time to send this many pages, from the last round; none of them is taken to be
    /// zero.
    pub fn estimate(&self, pages: u64) -> Option<Duration> {
        let last = self.last.filter(|last| last.sent > 0)?;
        let time = last.time.as_nanos().saturating_mul(u128::from(pages)) / u128::from(last.sent);
        Some(Duration::from_nanos(u64::try_from(time).unwrap_or(u64::MAX)))
    }

    /// Pages that the guest wrote per second in the last round.
    pub fn dirty_rate(&self) -> Option<u64> {
        let last = self.last?;
        let rate = u128::from(last.dirtied) * 1_000_000_000 / last.time.as_nanos().max(1);
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// What follows, when `dirty` pages remain after `elapsed` time.
    pub fn decide(&self, dirty: u64, elapsed: Duration, options: &Options) -> Decision {
        if dirty == 0 || self.estimate(dirty).is_some_and(|estimate| estimate <= options.max_downtime) {
            Decision::Stop
        } else {
            at_time(elapsed, options)
        }
    }

    /// The percentage to which the guest is to be slowed down now, if it is.
    pub fn throttle(&mut self, options: &Options) -> Option<u32> {
        if !options.throttle || self.stalled < PATIENCE {
            return None;
        }
        let percent = *THROTTLE.get(self.throttled)?;
        self.throttled += 1;
        self.stalled = 0;
        Some(percent)
    }
}

/// What the timeout alone decides.
pub fn at_time(elapsed: Duration, options: &Options) -> Decision {
    match (elapsed < options.timeout, options.force) {
        (true, _) => Decision::Continue,
        (false, true) => Decision::Stop,
        (false, false) => Decision::Cancel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            live: true,
            max_downtime: Duration::from_millis(300),
            timeout: Duration::from_secs(60),
            force: false,
            throttle: true,
            compress: false,
            bandwidth: None,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_guest_is_suspended_when_the_rest_fits_the_downtime() {
        let mut rounds = Convergence::default();
        assert_eq!(rounds.decide(1000, SECOND, &options()), Decision::Continue, "nothing is known yet");
        rounds.note(Round { pages: 1000, sent: 1000, time: SECOND, dirtied: 301 });
        assert_eq!(rounds.estimate(301), Some(Duration::from_millis(301)));
        assert_eq!(rounds.dirty_rate(), Some(301));
        assert_eq!(rounds.decide(301, SECOND, &options()), Decision::Continue);
        assert_eq!(rounds.decide(300, SECOND, &options()), Decision::Stop);
        assert_eq!(rounds.decide(0, SECOND, &options()), Decision::Stop);
    }

    #[test]
    fn the_timeout_cancels_or_forces() {
        let rounds = Convergence::default();
        assert_eq!(rounds.decide(1000, 61 * SECOND, &options()), Decision::Cancel);
        let force = Options { force: true, ..options() };
        assert_eq!(rounds.decide(1000, 61 * SECOND, &force), Decision::Stop);
    }

    #[test]
    fn a_guest_that_writes_as_fast_as_the_link_is_slowed_down_step_by_step() {
        let mut rounds = Convergence::default();
        let mut steps = Vec::new();
        for _ in 0..20 {
            rounds.note(Round { pages: 1000, sent: 1000, time: SECOND, dirtied: 900 });
            steps.extend(rounds.throttle(&options()));
        }
        assert_eq!(steps, THROTTLE);
        let mut rounds = Convergence::default();
        for _ in 0..20 {
            rounds.note(Round { pages: 1000, sent: 1000, time: SECOND, dirtied: 700 });
            assert_eq!(rounds.throttle(&options()), None, "it makes progress");
            rounds.note(Round { pages: 1000, sent: 1000, time: SECOND, dirtied: 900 });
            assert_eq!(rounds.throttle(&Options { throttle: false, ..options() }), None);
        }
    }
}
