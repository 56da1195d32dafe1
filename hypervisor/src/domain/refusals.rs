//! What a domain is told no for because of a limit: a line in the log names it, now and then.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use abi::xen::DomainId;
use machine::time;

/// The shortest time between two lines about the same domain, in nanoseconds.
const INTERVAL: u64 = 10_000_000_000;

/// When the next line about a domain may be written.
pub struct Refusals {
    next: AtomicU64,
}

impl Refusals {
    /// Nothing has been refused.
    pub const fn new() -> Self {
        Self { next: AtomicU64::new(0) }
    }

    /// Writes that domain `id` has met a limit, unless that was said of it a moment ago. No lock
    /// may be held.
    pub fn note(&self, id: DomainId, what: fmt::Arguments<'_>) {
        if self.is_due(time::now()) {
            log::warn!("domain {}: {what}", id.0);
        }
    }

    fn is_due(&self, now: u64) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        now >= next && self.next.compare_exchange(next, now + INTERVAL, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_that_meets_a_limit_again_and_again_is_spoken_of_now_and_then() {
        let refusals = Refusals::new();
        let said = (0..1000).filter(|tenth| refusals.is_due(tenth * (INTERVAL / 10))).count();
        assert_eq!(said, 100);
    }
}
