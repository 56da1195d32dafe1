//! Counters of each hypercall: calls and exhausted budgets. The latency meter measures how long
//! they take.

use core::sync::atomic::{AtomicU64, Ordering};
use machine::speculation::MaskedIndex;

use crate::latency::{self, HYPERCALLS};

struct Counter {
    made: AtomicU64,
    continued: AtomicU64,
}

static COUNTERS: [Counter; HYPERCALLS as usize] =
    [const { Counter { made: AtomicU64::new(0), continued: AtomicU64::new(0) } }; HYPERCALLS as usize];

/// Counts a call or restart of hypercall `number`. `continued` is set if it returned a
/// continuation.
pub(crate) fn note_call(number: u64, continued: bool) {
    let Some(counter) = usize::try_from(number).ok().and_then(|index| COUNTERS.masked(index)) else { return };
    counter.made.fetch_add(1, Ordering::Relaxed);
    if continued {
        counter.continued.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counters of one hypercall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    /// Its name.
    pub(crate) name: &'static str,
    /// Number of calls and restarts.
    pub(crate) made: u64,
    /// Number of calls that exhausted their budget.
    pub(crate) continued: u64,
    /// The longest stretch without an interrupt window that it began, in nanoseconds.
    pub(crate) longest: u64,
}

/// The counters of all hypercalls that have been called.
pub(crate) fn counts() -> impl Iterator<Item = Count> {
    (0..).zip(&COUNTERS).filter_map(|(number, counter)| {
        let made = counter.made.load(Ordering::Relaxed);
        (made != 0).then(|| Count {
            name: latency::hypercall_name(number).unwrap_or("unknown"),
            made,
            continued: counter.continued.load(Ordering::Relaxed),
            longest: latency::longest_of_hypercall(number),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted() {
        machine::hosted::start(64);
        note_call(12, false);
        note_call(12, true);
        note_call(u64::MAX, false);
        let seen = counts().find(|call| call.name == "memory_op").map(|call| (call.made, call.continued));
        assert_eq!(seen, Some((2, 1)));
    }
}
