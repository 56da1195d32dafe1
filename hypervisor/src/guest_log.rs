//! Log messages that a guest can cause. They are limited in rate, so that no guest floods the log,
//! and by the level of the option `guest_loglvl=`.

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
        log::log!(level, "d{id} {name}: {swallowed} messages left out");
    }
    log::log!(level, "d{id} {name}: {message}");
}

/// `guest_log!(domain, Warn, "format", …)`: logs what a guest has caused, limited in rate.
macro_rules! guest_log {
    ($domain:expr, $level:ident, $($message:tt)+) => {
        $crate::guest_log::log_guest(&$domain, ::log::Level::$level, ::core::format_args!($($message)+))
    };
}

pub(crate) use guest_log;

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
