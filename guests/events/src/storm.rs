//! A handler that raises its own event repeatedly, until the interrupted code runs and stops it. On
//! Xen that code never runs.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use kernel::memory::{initial_domain, vcpu_info};
use kernel::{check, say};

use crate::two_level::{clear, mask, rest};
use crate::{close, ipi, send, upcalls};

/// The port to raise, or 0.
static PORT: AtomicU32 = AtomicU32::new(0);

/// Number of upcalls after which the handler gives up: the hypervisor does not interrupt the storm.
const ENDLESS: u64 = 50_000;

/// Raises the event again, in the handler.
pub(crate) fn raise_again(count: u64) {
    let port = PORT.load(Relaxed);
    if port != 0 && count < ENDLESS {
        clear(port);
        rest();
        send(port);
    }
}

pub(crate) fn all() {
    if initial_domain() {
        return;
    }
    let port = ipi();
    rest();
    mask(port, false);
    upcalls();
    PORT.store(port, Relaxed);
    vcpu_info(0).set_mask(0);
    send(port);
    PORT.store(0, Relaxed);
    vcpu_info(0).set_mask(1);
    let count = upcalls();
    say!("upcalls before the interrupted code continued: {count}");
    check!((1..ENDLESS).contains(&count), "code that an event interrupts repeatedly continues: {count} upcalls");
    clear(port);
    rest();
    close(port);
}
