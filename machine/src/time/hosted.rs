//! The test process's clock, which a test can advance.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use core::sync::atomic::{AtomicU64, Ordering};

use super::Scale;
use crate::per_cpu::{NEVER, current, deadline};

static START: OnceLock<(Instant, u64)> = OnceLock::new();
static ADVANCED: AtomicU64 = AtomicU64::new(0);
/// The time at which the clock was stopped; all ones while it runs.
static STOPPED_AT: AtomicU64 = AtomicU64::new(u64::MAX);

fn start() -> &'static (Instant, u64) {
    START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        (Instant::now(), wall)
    })
}

/// Nanoseconds since the first use of the clock.
pub fn now() -> u64 {
    elapsed().min(STOPPED_AT.load(Ordering::SeqCst)) + ADVANCED.load(Ordering::SeqCst)
}

fn elapsed() -> u64 {
    start().0.elapsed().as_nanos() as u64
}

/// Stops the clock for the rest of the process: from now on only [`advance`] moves it, so that
/// other load on the test machine has no effect.
pub fn stop() {
    STOPPED_AT.store(elapsed(), Ordering::SeqCst);
}

/// Advances the clock.
pub fn advance(nanoseconds: u64) {
    ADVANCED.fetch_add(nanoseconds, Ordering::SeqCst);
}

/// The simulated counter, with one tick per nanosecond.
pub fn tsc() -> u64 {
    now()
}

/// The same; instructions are not reordered here.
pub fn ticks() -> u64 {
    now()
}

/// The scale from ticks to nanoseconds.
pub fn scale() -> Scale {
    Scale::of_frequency(1_000_000_000)
}

/// Requests `Pending::TIMER` on this CPU at `at`; `u64::MAX` means never.
pub fn set_deadline(at: u64) {
    deadline(current()).store(at, Ordering::SeqCst);
}

/// Whether this CPU's deadline has been reached.
pub(crate) fn is_due() -> bool {
    let at = deadline(current()).load(Ordering::SeqCst);
    at != NEVER && now() >= at
}

/// Clears this CPU's deadline.
pub(crate) fn forget_deadline() {
    set_deadline(NEVER);
}

/// The wall clock when `now` was zero: nanoseconds since 1970, UTC.
pub fn wall_clock_at_boot() -> u64 {
    start().1
}
