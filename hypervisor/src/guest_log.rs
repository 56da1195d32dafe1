//! Log messages, either caused by guests or of the host.
//!
//! Messages that a guest can cause are limited in rate, so that no guest floods the log, and
//! filtered by the level of the option `guest_loglvl=`. The macros of the crate `log` are
//! disallowed, so that each message is one or the other.

use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use log::LevelFilter;
use machine::sync::Once;

use crate::domain::Domain;

/// Messages of less severe levels are not logged.
static LEVEL: Once<LevelFilter> = Once::new();

/// Reads the option `guest_loglvl=`. Called once, before the first domain is created.
pub(crate) fn init() {
    LEVEL.set(machine::boot::options().guest_log_level);
}

/// Window in which a guest may cause [`BURST`] messages, in nanoseconds.
const WINDOW: u64 = 5_000_000_000;
const BURST: u32 = 10;

/// The number of messages that a guest has caused in the current window. Two CPUs that race at the
/// edge of a window may let an additional message through.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    window: AtomicU64,
    count: AtomicU32,
}

impl Limiter {
    /// A limiter without messages.
    pub(crate) const fn new() -> Self {
        Self { window: AtomicU64::new(0), count: AtomicU32::new(0) }
    }

    /// Counts a message. Returns `None` if it must not be logged, otherwise how many messages were
    /// suppressed before it.
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

/// Logs a message that a guest has caused, subject to its rate limit and to `guest_loglvl=`. See
/// [`guest_log!`].
pub(crate) fn log_guest(domain: &Domain, level: log::Level, message: fmt::Arguments<'_>) {
    if level > LEVEL.try_get().copied().unwrap_or(LevelFilter::Warn) {
        return;
    }
    let Some(swallowed) = domain.log_limiter.admit(machine::time::now()) else { return };
    let (id, name) = (domain.id().0, &domain.settings().name);
    if swallowed != 0 {
        log_host(level, format_args!("d{id} {name}: {swallowed} messages suppressed"));
    }
    log_host(level, format_args!("d{id} {name}: {message}"));
}

/// Logs a message without a limit. See [`host_log!`].
#[expect(clippy::disallowed_macros, reason = "the one place that hands messages to the logger")]
pub(crate) fn log_host(level: log::Level, message: fmt::Arguments<'_>) {
    log::log!(level, "{message}");
}

/// `guest_log!(domain, Warn, "format", …)` logs a message that a guest has caused, limited in rate.
macro_rules! guest_log {
    ($domain:expr, $level:ident, $($message:tt)+) => {
        $crate::guest_log::log_guest(&$domain, ::log::Level::$level, ::core::format_args!($($message)+))
    };
}

/// `host_log!(Warn, "format", …)` logs a message of the host, without a rate limit. It is used
/// during start-up, for events that occur once, and for steps in the life of a domain, which the
/// host or the control domain causes.
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
