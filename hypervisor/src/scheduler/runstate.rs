//! Runstates of a vCPU, and the time spent in each.

use abi::vcpu::{RunstateInfo, runstate};

/// The states of the public interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runstate {
    /// It runs on a pCPU.
    Running,
    /// It waits for a pCPU.
    Runnable,
    /// It waits for an event.
    Blocked,
    /// It is down, or its domain is paused.
    Offline,
}

impl Runstate {
    const fn number(self) -> i32 {
        match self {
            Self::Running => runstate::RUNNING,
            Self::Runnable => runstate::RUNNABLE,
            Self::Blocked => runstate::BLOCKED,
            Self::Offline => runstate::OFFLINE,
        }
    }
}

/// The runstate account of one vCPU. The sum of its times is the time since it was created.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    state: Runstate,
    since: u64,
    times: [u64; 4],
}

impl Account {
    pub(super) const fn new(now: u64) -> Self {
        Self { state: Runstate::Offline, since: now, times: [0; 4] }
    }

    pub(super) const fn state(&self) -> Runstate {
        self.state
    }

    pub(super) fn enter(&mut self, state: Runstate, now: u64) {
        if state == self.state {
            return;
        }
        // Clocks of two pCPUs may differ slightly.
        let now = now.max(self.since);
        *self.time_in(self.state) += now - self.since;
        self.since = now;
        self.state = state;
    }

    /// Time in `state` until the entry of the current state, in nanoseconds.
    const fn time_in(&mut self, state: Runstate) -> &mut u64 {
        match state {
            Runstate::Running => &mut self.times[0],
            Runstate::Runnable => &mut self.times[1],
            Runstate::Blocked => &mut self.times[2],
            Runstate::Offline => &mut self.times[3],
        }
    }

    /// Time in `state` until `now`, in nanoseconds.
    pub(super) const fn time(mut self, state: Runstate, now: u64) -> u64 {
        let current = if state as u8 == self.state as u8 { now.saturating_sub(self.since) } else { 0 };
        *self.time_in(state) + current
    }

    /// The public structure, with times until the entry of the current state.
    pub(super) fn at_entry(&self) -> RunstateInfo {
        self.info(self.since)
    }

    /// The public structure, with the current state's time until `now`.
    pub(super) fn info(&self, now: u64) -> RunstateInfo {
        let states = [Runstate::Running, Runstate::Runnable, Runstate::Blocked, Runstate::Offline];
        RunstateInfo {
            state: self.state.number(),
            _pad: 0,
            state_entry_time: self.since,
            time: states.map(|state| self.time(state, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Runstate};

    #[test]
    fn times_add_up() {
        let mut account = Account::new(100);
        account.enter(Runstate::Runnable, 150);
        account.enter(Runstate::Running, 160);
        account.enter(Runstate::Running, 170);
        account.enter(Runstate::Blocked, 155);
        let info = account.info(200);
        assert_eq!(info.time, [0, 10, 40, 50]);
        assert_eq!(info.time.iter().sum::<u64>(), 100);
        assert_eq!((info.state, info.state_entry_time), (2, 160));
    }
}
