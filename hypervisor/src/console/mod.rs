//! Consoles: what guests print and Paravane passes on to the serial line, and who gets what is typed there.
//!
//! - What a guest prints stands behind its name on every line (see `line`), save the initial domain's and the one guest that
//!   `guest_console=raw:NAME` names: their bytes pass as they are, both ways.
//! - A ring is the guest's to corrupt: indices are read once and checked, and no more is done at once than a ring holds.
//! - Locks: a guest's console (`Level::Console`), inside it the serial line (`Level::SerialLine`).

mod guest;
mod input;
pub mod keys;
mod line;
mod log;
mod options;
pub(crate) mod ring;
mod wire;

pub use self::log::log_guest;
pub use guest::GuestConsole;
pub use input::serial_input;
pub use options::init;

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use abi::xen::virq;
use machine::cpu;

use crate::domain::{self, Domain};
use crate::event_channel;
use crate::guest_log;

/// Some guest's output was left in its ring.
static DEFERRED: AtomicBool = AtomicBool::new(false);

/// The guest has sent an event on its console's port: there is output, or room for input.
pub fn notified(domain: &Arc<Domain>) {
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
pub fn serve_deferred() {
    if DEFERRED.load(Ordering::Relaxed) && DEFERRED.swap(false, Ordering::SeqCst) {
        domain::for_each(|domain| {
            if domain.console.take_deferred() {
                notified(domain);
            }
        });
    }
}

/// Whether [`tell_news`] has something to tell.
pub fn has_news() -> bool {
    machine::console::history::has_news()
}

/// Tells the initial domain that there is something new for its `xl dmesg`; the scheduler calls this as it does [`serve_deferred`].
pub fn tell_news() {
    if machine::console::history::take_news() {
        event_channel::raise_for_control(virq::CON_RING);
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

/// Writes what the initial domain prints with the `console_io` hypercall.
pub(crate) fn write_plain(domain: &Domain, bytes: &[u8]) {
    domain.console.write_plain(bytes);
}

/// Reads input for the initial domain's `console_io` hypercall; how much there was.
pub(crate) fn read_plain(domain: &Domain, to: &mut [u8]) -> usize {
    domain.console.read_plain(to)
}
