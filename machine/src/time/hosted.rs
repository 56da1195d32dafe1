//! The test process's clock, which a test may push forward.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use core::sync::atomic::{AtomicU64, Ordering};

use super::Scale;
use crate::per_cpu::{NEVER, current, deadline};

static START: OnceLock<(Instant, u64)> = OnceLock::new();
static PUSHED: AtomicU64 = AtomicU64::new(0);
/// The moment at which the clock was stopped; all ones while it runs.
static STOPPED_AT: AtomicU64 = AtomicU64::new(u64::MAX);

fn start() -> &'static (Instant, u64) {
    START.get_or_init(|| {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        (Instant::now(), wall)
    })
}

/// Nanoseconds since the first use of the clock.
pub fn now() -> u64 {
    elapsed().min(STOPPED_AT.load(Ordering::SeqCst)) + PUSHED.load(Ordering::SeqCst)
}

fn elapsed() -> u64 {
    start().0.elapsed().as_nanos() as u64
}

/// Stops the clock for the rest of the process: from now on only [`advance`] moves it, so that what
/// else the machine under the test does has no influence.
pub fn stop() {
    STOPPED_AT.store(elapsed(), Ordering::SeqCst);
}

/// Pushes the clock forward.
pub fn advance(nanoseconds: u64) {
    PUSHED.fetch_add(nanoseconds, Ordering::SeqCst);
}

/// The simulated counter: one tick a nanosecond.
pub fn tsc() -> u64 {
    now()
}

/// The same; nothing is out of order here.
pub fn ticks() -> u64 {
    now()
}

/// How ticks become nanoseconds.
pub fn scale() -> Scale {
    Scale::of_frequency(1_000_000_000)
}

/// Asks for `Pending::TIMER` on this CPU at `at`; `u64::MAX` means never.
pub fn set_deadline(at: u64) {
    deadline(current()).store(at, Ordering::SeqCst);
}

/// Whether this CPU's deadline has been reached.
pub(crate) fn is_due() -> bool {
    let at = deadline(current()).load(Ordering::SeqCst);
    at != NEVER && now() >= at
}

/// Leaves this CPU without a deadline.
pub(crate) fn forget_deadline() {
    set_deadline(NEVER);
}

/// The wall clock when `now` was zero: nanoseconds since 1970, UTC.
pub fn wall_clock_at_boot() -> u64 {
    start().1
}
