//! Keeps events from starving the code that they interrupt.
//!
//! An event is delivered before the guest executes an instruction: that is when its mask lets it in. A handler that raises its own event
//! anew each time then never lets the interrupted code get on, and if what makes it do so can be ended by that code only, for ever. Debian
//! 12's real-time kernel comes into this at boot (`docs/decisions/0004`). Events are asynchronous, so one that is a little late is nothing a
//! guest could tell from one that was raised later: after many upcalls on end that came in where the last one's handler
//! had just returned to, the next one is held back for a moment in which the guest runs.

/// A place in the guest's code: instruction and stack pointer.
type Place = (u64, u64);

/// Upcalls on end that interrupt one place until the code there gets its moment.
const MAX_UPCALLS: u32 = 64;

/// How long a moment is, in nanoseconds.
const MOMENT: u64 = 50_000;

/// What to do with an upcall that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Deliver it.
    Now,
    /// Hold it back until then at the latest, in nanoseconds since boot; the caller sees to it that the guest stops by then.
    Until(u64),
    /// It is held back already.
    Held,
}

/// Where a vCPU's upcalls came in lately.
#[derive(Debug, Default)]
pub(crate) struct UpcallStorm {
    place: Place,
    upcalls: u32,
    held_until: Option<u64>,
}

impl UpcallStorm {
    /// An upcall is due while the guest is at `place`, to which it has `returned` just now from a handler.
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
    fn code_that_upcalls_keep_interrupting_gets_a_moment() {
        let mut storm = UpcallStorm::default();
        for _ in 0..3 {
            assert_eq!(storm.due(PLACE, false, || 100), Verdict::Now);
            for _ in 1..MAX_UPCALLS {
                assert_eq!(storm.due(PLACE, true, || 100), Verdict::Now);
            }
            assert_eq!(storm.due(PLACE, true, || 100), Verdict::Until(100 + MOMENT));
            assert_eq!(storm.due(PLACE, false, || 100 + MOMENT - 1), Verdict::Held);
            // It has got on by an instruction: the event is delivered there.
            assert_eq!(storm.due((0x1001, 0x8000), false, || 200), Verdict::Now);
        }
    }

    #[test]
    fn an_upcall_is_held_back_no_longer_than_a_moment() {
        let mut storm = UpcallStorm::default();
        for _ in 0..MAX_UPCALLS {
            storm.due(PLACE, true, || 0);
        }
        assert_eq!(storm.due(PLACE, true, || 0), Verdict::Until(MOMENT));
        // A loop of one instruction stays where it is.
        assert_eq!(storm.due(PLACE, false, || MOMENT), Verdict::Now);
        assert_eq!(storm.due(PLACE, true, || MOMENT), Verdict::Now);
    }

    #[test]
    fn upcalls_of_code_that_gets_on_are_never_held_back() {
        let mut storm = UpcallStorm::default();
        for number in 0..u64::from(MAX_UPCALLS) * 10 {
            assert_eq!(storm.due((number, 0x8000), true, || number), Verdict::Now);
        }
        // An idle loop is interrupted at one place only, but has got there by itself each time.
        for number in 0..u64::from(MAX_UPCALLS) * 10 {
            assert_eq!(storm.due(PLACE, false, || number), Verdict::Now);
        }
    }
}
