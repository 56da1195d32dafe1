//! A timer that is set again immediately after each event, and the longest time between two of its
//! events.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use kernel::abi::event_channel::{BindVirq, op};
use kernel::abi::xen::virq;
use kernel::call::number;
use kernel::memory::vcpu_info;
use kernel::{call, check_eq, time, trap};

/// Time from one event to the next in nanoseconds, if nothing delays it.
const PERIOD: u64 = 20_000;

static PORT: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Sets the timer for the first time.
pub(crate) fn start() {
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::BIND_VIRQ, &mut bind), 0, "bind the timer");
    PORT.store(bind.port, Relaxed);
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::UNMASK, &bind.port), 0, "unmask the timer");
    trap::set_hook(true, Some(upcall));
    arm();
    vcpu_info(0).set_mask(0);
}

fn arm() {
    let _ = call!(number::SET_TIMER_OP, time::now() + PERIOD);
}

/// Records the time, and marks all events as seen, in either ABI.
fn upcall(_: &mut trap::Frame) -> bool {
    note();
    vcpu_info(0).set_pending(0);
    crate::events::acknowledge(PORT.load(Relaxed));
    arm();
    true
}

fn note() {
    let now = time::tsc();
    let before = LAST.swap(now, Relaxed);
    if before != 0 {
        LONGEST.fetch_max(now - before, Relaxed);
    }
}

/// Starts a measurement.
pub(crate) fn reset() {
    // The previous call may have stopped the timer.
    arm();
    LAST.store(time::tsc(), Relaxed);
    LONGEST.store(0, Relaxed);
}

/// The longest time without an event since then, including the time until now.
pub(crate) fn longest() -> u64 {
    note();
    LONGEST.load(Relaxed)
}

/// The timer's port.
pub(crate) fn port() -> u32 {
    PORT.load(Relaxed)
}
