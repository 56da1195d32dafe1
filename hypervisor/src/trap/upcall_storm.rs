//! Prevents events from starving the code that they interrupt.
//!
//! A pending event is delivered as soon as it is unmasked, before the guest executes an
//! instruction. If a handler raises its own event each time, the interrupted code makes no
//! progress. If only that code can end this, the guest hangs. The real-time kernel of Debian 12
//! does this at boot (`docs/decisions/0004`).
//!
//! Events are asynchronous, so a guest cannot distinguish a delayed event from one that was raised
//! later. After many successive upcalls at the place to which the previous handler returned, the
//! next one is therefore delayed, and the guest runs meanwhile.

/// A place in the guest's code: instruction and stack pointer.
type Place = (u64, u64);

/// Number of successive upcalls at one place before the next one is delayed.
const MAX_UPCALLS: u32 = 64;

/// The delay, in nanoseconds.
const MOMENT: u64 = 50_000;

/// The decision on an upcall that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Deliver it now.
    Now,
    /// Delay it until this time at the latest, in nanoseconds since boot. The caller makes the
    /// guest stop by then.
    Until(u64),
    /// It is being delayed already.
    Held,
}

/// The recent upcalls of a vCPU.
#[derive(Debug, Default)]
pub(crate) struct UpcallStorm {
    place: Place,
    upcalls: u32,
    held_until: Option<u64>,
}

impl UpcallStorm {
    /// Decides on an upcall that is due while the guest is at `place`. `returned` is set if it has
    /// just returned there from a handler.
    pub(crate) fn due(&mut self, place: Place, returned: bool, now: impl Fn() -> u64) -> Verdict {
        let Self { upcalls, held_until, .. } = *self;
        if place == self.place {
            match held_until {
                Some(until) if now() < until => return Verdict::Held,
                None if returned && upcalls < MAX_UPCALLS => {
                    self.upcalls += 1;
                    return Verdict::Now;
                }
                None if returned => {
                    let until = now().saturating_add(MOMENT);
                    self.held_until = Some(until);
                    return Verdict::Until(until);
                }
                _ => {}
            }
        }
        *self = Self { place, upcalls: 1, held_until: None };
        Verdict::Now
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_UPCALLS, MOMENT, UpcallStorm, Verdict};

    const PLACE: (u64, u64) = (0x1000, 0x8000);

    #[test]
    fn an_upcall_storm_is_interrupted_by_a_delay() {
        let mut storm = UpcallStorm::default();
        for _ in 0..3 {
            assert_eq!(storm.due(PLACE, false, || 100), Verdict::Now);
            for _ in 1..MAX_UPCALLS {
                assert_eq!(storm.due(PLACE, true, || 100), Verdict::Now);
            }
            assert_eq!(storm.due(PLACE, true, || 100), Verdict::Until(100 + MOMENT));
            assert_eq!(storm.due(PLACE, false, || 100 + MOMENT - 1), Verdict::Held);
            // It has executed one instruction: the event is delivered at the next.
            assert_eq!(storm.due((0x1001, 0x8000), false, || 200), Verdict::Now);
        }
    }

    #[test]
    fn an_upcall_is_not_delayed_beyond_the_limit() {
        let mut storm = UpcallStorm::default();
        for _ in 0..MAX_UPCALLS {
            storm.due(PLACE, true, || 0);
        }
        assert_eq!(storm.due(PLACE, true, || 0), Verdict::Until(MOMENT));
        // A loop of one instruction stays at the same place.
        assert_eq!(storm.due(PLACE, false, || MOMENT), Verdict::Now);
        assert_eq!(storm.due(PLACE, true, || MOMENT), Verdict::Now);
    }

    #[test]
    fn upcalls_are_not_delayed_if_the_code_makes_progress() {
        let mut storm = UpcallStorm::default();
        for number in 0..u64::from(MAX_UPCALLS) * 10 {
            assert_eq!(storm.due((number, 0x8000), true, || number), Verdict::Now);
        }
        // An idle loop is always interrupted at one place, but has executed instructions before
        // each time.
        for number in 0..u64::from(MAX_UPCALLS) * 10 {
            assert_eq!(storm.due(PLACE, false, || number), Verdict::Now);
        }
    }
}
