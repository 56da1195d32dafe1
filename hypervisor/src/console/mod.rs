//! Consoles: what guests print and Paravane passes on to its own (serial ports, the screen), and
//! who gets what is typed there.
//!
//! - What a guest prints stands behind its name on every line (see `line`), save the initial domain's and the one guest that
//!   `guest_console=raw:NAME` names: their bytes pass as they are, both ways.
//! - A ring is the guest's to corrupt: indices are read once and checked, and no more is done at once than a ring holds.
//! - Locks: a guest's console (`Level::Console`), inside it the serial line (`Level::SerialLine`).

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

/// Nanoseconds from a line's being written until the screen shows it: lines that come together are
/// drawn together.
const DRAWING_DELAY: u64 = 16_000_000;

/// A pCPU's timer will call [`serve_devices`].
static TIMER_SET: AtomicBool = AtomicBool::new(false);

/// Some guest's output was left in its ring.
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// The console as the other end of a guest's port.
pub(crate) const CONSUMER: Consumer = Consumer { name: "Console", notified };

/// The guest has sent an event on its console's port: there is output, or room for input.
pub(crate) fn notified(domain: &Arc<Domain>) {
    let served = domain.console.serve();
    if served.corrupt {
        guest_log!(domain, Warn, "console ring with impossible indices");
    }
    if served.more || served.waits {
        DEFERRED.store(true, Ordering::SeqCst);
    }
    if served.more {
        // this pCPU looks at what has come in before it does anything else
        cpu::kick(cpu::current());
    }
    if let Some(port) = served.notify {
        event_channel::notify_guest(domain, port);
    }
}

/// Takes up output that was too much for one notification; the scheduler calls this when it looks at what has come in.
pub(crate) fn serve_deferred() {
    if DEFERRED.load(Ordering::Relaxed) && DEFERRED.swap(false, Ordering::SeqCst) {
        domain::for_each(|domain| {
            if domain.console.take_deferred() {
                notified(domain);
            }
        });
    }
}

/// Whether [`tell_news`] has something to tell.
pub(crate) fn has_news() -> bool {
    news::any()
}

/// Tells the initial domain that there is something new for its `xl dmesg`, and sees to it that the
/// screen is drawn; the scheduler calls this as it does [`serve_deferred`].
pub(crate) fn tell_news() {
    let news = news::take();
    if news.contains(News::HISTORY) {
        event_channel::raise_for_control(virq::CON_RING);
    }
    if news.contains(News::UNDRAWN) {
        serve_devices_in(DRAWING_DELAY);
    }
}

/// Looks after the consoles that no interrupt serves, now and by a timer for as long as there is
/// something to do.
pub(crate) fn serve_devices() {
    TIMER_SET.store(false, Ordering::SeqCst);
    if let Some(delay) = machine::console::poll() {
        serve_devices_in(delay);
    }
}

/// Sets the timer for [`serve_devices`], unless it is set. Some pCPU has it.
fn serve_devices_in(delay: u64) {
    if !TIMER_SET.swap(true, Ordering::SeqCst) {
        timers::add(machine::time::now().saturating_add(delay), Action::Host(serve_devices));
    }
}

/// Gives input to a guest and tells it.
fn give_input(domain: &Arc<Domain>, bytes: &[u8]) {
    if let Some(port) = domain.console.add_input(bytes) {
        event_channel::notify_guest(domain, port);
    }
    if domain.is_privileged() {
        event_channel::raise_global_virq(domain, virq::CONSOLE);
    }
}

/// Prints a line for somebody who pressed a debug key.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    multiplexer::say(text);
}

/// Writes what the initial domain prints with the `console_io` hypercall.
pub(crate) fn write_plain(domain: &Domain, bytes: &[u8]) {
    domain.console.write_plain(bytes);
}

/// Reads input for the initial domain's `console_io` hypercall; how much there was.
pub(crate) fn read_plain(domain: &Domain, to: &mut [u8]) -> usize {
    domain.console.read_plain(to)
}
