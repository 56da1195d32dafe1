//! Consoles: the output of guests on Paravane's own consoles (serial ports, the screen), and the
//! distribution of the input from there.
//!
//! - Every line of guest output is prefixed with the guest's name (see `line`). The exceptions are
//!   the initial domain and the guest that `guest_console=raw:NAME` names: their bytes pass
//!   unchanged in both directions.
//! - A guest may corrupt its ring at any time. Indices are read once and validated, and one call
//!   moves at most the size of a ring.
//! - Locks: a guest's console (`Level::Console`), then the serial line (`Level::SerialLine`).

mod guest;
mod input;
mod line;
mod multiplexer;
mod options;
pub(crate) mod ring;
pub(crate) mod screen;

pub(crate) use guest::GuestConsole;
pub(crate) use input::serial_input;
pub(crate) use options::init;

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::xen::virq;
use machine::console::news::{self, News};
use machine::cpu;

use crate::domain::{self, Domain};
use crate::event_channel::{self, Consumer};
use crate::guest_log::guest_log;
use crate::timers::{self, Action};

/// Delay from the output of a line until the screen is drawn, in nanoseconds. Lines within this
/// time are drawn together.
const DRAWING_DELAY: u64 = 16_000_000;

/// A pCPU's timer is set to call [`serve_devices`].
static TIMER_SET: AtomicBool = AtomicBool::new(false);

/// A guest has output left in its ring.
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// The console as the consumer of a guest's port.
pub(crate) const CONSUMER: Consumer = Consumer { name: "Console", notified };

/// Handles an event that the guest has sent on its console port: there is output, or room for
/// input.
pub(crate) fn notified(domain: &Arc<Domain>) {
    let served = domain.console.serve();
    if served.corrupt {
        guest_log!(domain, Warn, "console ring with impossible indices");
    }
    if served.more || served.waits {
        DEFERRED.store(true, Ordering::SeqCst);
    }
    if served.more {
        // make this pCPU check for pending work before it does anything else
        cpu::kick(cpu::current());
    }
    if let Some(port) = served.notify {
        event_channel::notify_guest(domain, port);
    }
}

/// Continues with output that exceeded the limit for one notification. Called by the scheduler when
/// it checks for pending work.
pub(crate) fn serve_deferred() {
    if DEFERRED.load(Ordering::Relaxed) && DEFERRED.swap(false, Ordering::SeqCst) {
        domain::for_each(|domain| {
            if domain.console.take_deferred() {
                notified(domain);
            }
        });
    }
}

/// Whether [`tell_news`] has anything to report.
pub(crate) fn has_news() -> bool {
    news::any()
}

/// Raises `VIRQ_CON_RING` if the console history has grown, and schedules drawing of the screen.
/// Called by the scheduler with [`serve_deferred`].
pub(crate) fn tell_news() {
    let news = news::take();
    if news.contains(News::HISTORY) {
        event_channel::raise_for_control(virq::CON_RING);
    }
    if news.contains(News::UNDRAWN) {
        serve_devices_in(DRAWING_DELAY);
    }
}

/// Polls the consoles that have no interrupt, and sets a timer if they need another poll.
pub(crate) fn serve_devices() {
    TIMER_SET.store(false, Ordering::SeqCst);
    if let Some(delay) = machine::console::poll() {
        serve_devices_in(delay);
    }
}

/// Sets a timer on this pCPU for [`serve_devices`], unless one is set on any pCPU.
fn serve_devices_in(delay: u64) {
    if !TIMER_SET.swap(true, Ordering::SeqCst) {
        timers::add(machine::time::now().saturating_add(delay), Action::Host(serve_devices));
    }
}

/// Passes input to a guest and notifies it.
fn give_input(domain: &Arc<Domain>, bytes: &[u8]) {
    if let Some(port) = domain.console.add_input(bytes) {
        event_channel::notify_guest(domain, port);
    }
    if domain.is_privileged() {
        event_channel::raise_global_virq(domain, virq::CONSOLE);
    }
}

/// Prints a line in response to a debug key.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    multiplexer::print(text);
}

/// Writes what the initial domain prints with the `console_io` hypercall.
pub(crate) fn write_plain(domain: &Domain, bytes: &[u8]) {
    domain.console.write_plain(bytes);
}

/// Reads input for the initial domain's `console_io` hypercall. Returns the number of bytes.
pub(crate) fn read_plain(domain: &Domain, to: &mut [u8]) -> usize {
    domain.console.read_plain(to)
}
