//! Log messages: those that a guest can cause, and those of the host.
//!
//! Messages that a guest can cause are limited in rate, so that no guest floods the log, and by the
//! level of the option `guest_loglvl=`. The macros of the crate `log` are disallowed, so that each
//! message is one or the other.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use log::LevelFilter;
use machine::sync::Once;

use crate::domain::Domain;

/// Messages beyond this level are not shown.
static LEVEL: Once<LevelFilter> = Once::new();

/// Reads the option `guest_loglvl=`; once, before the first domain is created.
pub(crate) fn init() {
    LEVEL.set(machine::boot::options().guest_log_level);
}

/// Nanoseconds in which a guest may cause [`BURST`] messages.
const WINDOW: u64 = 5_000_000_000;
const BURST: u32 = 10;

/// How many messages a guest has caused lately. Two CPUs that race at the edge of a window may let a message more through.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    window: AtomicU64,
    count: AtomicU32,
}

impl Limiter {
    /// No message yet.
    pub(crate) const fn new() -> Self {
        Self { window: AtomicU64::new(0), count: AtomicU32::new(0) }
    }

    /// Counts a message: how many were swallowed before it if it may be shown, `None` if not.
    fn admit(&self, now: u64) -> Option<u32> {
        let window = now / WINDOW;
        if self.window.swap(window, Ordering::Relaxed) != window {
            let before = self.count.swap(1, Ordering::Relaxed);
            return Some(before.saturating_sub(BURST));
        }
        let before = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_add(1));
        (before.unwrap_or(u32::MAX) < BURST).then_some(0)
    }
}

/// Logs what a guest has caused, unless it causes too much or `guest_loglvl=` leaves it out. See
/// [`guest_log!`].
pub(crate) fn log_guest(domain: &Domain, level: log::Level, message: fmt::Arguments<'_>) {
    if level > LEVEL.try_get().copied().unwrap_or(LevelFilter::Warn) {
        return;
    }
    let Some(swallowed) = domain.log_limiter.admit(machine::time::now()) else { return };
    let (id, name) = (domain.id().0, &domain.settings().name);
    if swallowed != 0 {
        log_host(level, format_args!("d{id} {name}: {swallowed} messages left out"));
    }
    log_host(level, format_args!("d{id} {name}: {message}"));
}

/// Logs a message without a limit. See [`host_log!`].
#[expect(clippy::disallowed_macros, reason = "the one place that hands messages to the logger")]
pub(crate) fn log_host(level: log::Level, message: fmt::Arguments<'_>) {
    log::log!(level, "{message}");
}

/// `guest_log!(domain, Warn, "format", …)`: logs what a guest has caused, limited in rate.
macro_rules! guest_log {
    ($domain:expr, $level:ident, $($message:tt)+) => {
        $crate::guest_log::log_guest(&$domain, ::log::Level::$level, ::core::format_args!($($message)+))
    };
}

/// `host_log!(Warn, "format", …)`: logs a message of the host's own, without a limit. It is for
/// start-up, for what occurs once, and for steps in the life of a domain, which the host or the
/// control domain causes by starting it.
macro_rules! host_log {
    ($level:ident, $($message:tt)+) => {
        $crate::guest_log::log_host(::log::Level::$level, ::core::format_args!($($message)+))
    };
}

pub(crate) use {guest_log, host_log};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let limiter = Limiter::new();
        let shown = (0..1000).filter(|_| limiter.admit(7).is_some()).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!(limiter.admit(WINDOW + 1), Some(1000 - BURST));
        assert_eq!(limiter.admit(WINDOW + 2), Some(0));
    }
}
