//! The 2-level ABI: bits in the shared info.

use core::mem::offset_of;

use kernel::abi::xen::SharedInfo;
use kernel::call::error;
use kernel::memory::{initial_domain, peek, poke, shared_info, vcpu_info};
use kernel::{check, check_eq, say};

use crate::{close, ipi, new_ipi, nudge, pair, send, unmask, upcalls};

const PENDING: u64 = offset_of!(SharedInfo, event_pending) as u64;
const MASK: u64 = offset_of!(SharedInfo, event_mask) as u64;

fn bit(area: u64, port: u32) -> bool {
    peek::<u64>(shared_info() + area + u64::from(port / 64) * 8) >> (port % 64) & 1 == 1
}

fn set_bit(area: u64, port: u32, value: bool) {
    let word = shared_info() + area + u64::from(port / 64) * 8;
    let one = 1u64 << (port % 64);
    let old = peek::<u64>(word);
    poke(word, if value { old | one } else { old & !one });
}

pub(crate) fn pending(port: u32) -> bool {
    bit(PENDING, port)
}

pub(crate) fn clear(port: u32) {
    set_bit(PENDING, port, false);
}

pub(crate) fn mask(port: u32, value: bool) {
    set_bit(MASK, port, value);
}

/// Clears the vCPU's pending state.
pub(crate) fn rest() {
    vcpu_info(0).set_selector(0);
    vcpu_info(0).set_pending(0);
}

pub(crate) fn all() {
    bits();
    delivery();
    connected();
    order();
    closing();
    many();
}

fn bits() {
    let (port, info) = (ipi(), vcpu_info(0));
    rest();
    // A masked port becomes pending without a notification.
    mask(port, true);
    send(port);
    check!(pending(port), "a masked port becomes pending");
    check_eq!((info.selector(), info.pending()), (0, 0), "a masked port sets no selector");
    // Unmasking a pending port notifies the vCPU.
    unmask(port);
    check!(!bit(MASK, port), "unmask clears the mask bit");
    check_eq!((info.selector(), info.pending()), (1 << (port / 64), 1), "unmask of a pending port");
    rest();
    // A pending port: nothing happens.
    send(port);
    check_eq!((info.selector(), info.pending()), (0, 0), "a port that is pending already");
    clear(port);
    send(port);
    check!(pending(port), "an unmasked port");
    check_eq!((info.selector(), info.pending()), (1 << (port / 64), 1), "an unmasked port sets selector and flag");
    // Unmasking a port that is not pending.
    rest();
    clear(port);
    mask(port, true);
    unmask(port);
    check_eq!((info.selector(), info.pending()), (0, 0), "unmask of a port that is not pending");
    check_eq!(upcalls(), 0, "no upcall while the vCPU is masked");
    // If the selector's bit is set already, the flag is not set again.
    info.set_selector(1 << (port / 64));
    send(port);
    check_eq!(info.pending(), 0, "the flag depends on the selector's bit only");
    rest();
    clear(port);
    close(port);
}

fn delivery() {
    let (port, info) = (ipi(), vcpu_info(0));
    rest();
    mask(port, false);
    send(port);
    check_eq!(upcalls(), 0, "no upcall while masked");
    info.set_mask(0);
    check_eq!(upcalls(), 0, "clearing the mask alone causes no upcall");
    nudge();
    check_eq!(upcalls(), 1, "the next hypercall causes one");
    check_eq!(info.mask(), 0, "the mask after the upcall");
    nudge();
    check_eq!(upcalls(), 0, "one is enough");
    // Unmasked: immediately, on return from the call that sends.
    clear(port);
    info.set_selector(0);
    send(port);
    check_eq!(upcalls(), 1, "unmasked, the upcall is immediate");
    info.set_mask(1);
    clear(port);
    rest();
    // A flag set by the guest itself has the same effect.
    info.set_pending(1);
    nudge();
    check_eq!(upcalls(), 0, "no upcall while masked");
    info.set_mask(0);
    nudge();
    check_eq!(upcalls(), 1, "a flag set by the guest");
    info.set_mask(1);
    // The return from a trap with IF set also delivers it.
    info.set_pending(1);
    info.set_mask(0);
    let _ = kernel::attempt!("ud2");
    info.set_mask(1);
    check_eq!(upcalls(), 1, "an upcall after a trap");
    rest();
    close(port);
}

fn connected() {
    let ((one, two), info) = (pair(), vcpu_info(0));
    rest();
    mask(one, false);
    mask(two, false);
    check!(pending(two), "binding makes the binder's end pending, for events sent before");
    clear(two);
    send(one);
    check!(pending(two) && !pending(one), "a send arrives at the other end");
    check_eq!(info.selector(), 1 << (two / 64), "selector");
    rest();
    send(two);
    check!(pending(one), "and back");
    clear(one);
    clear(two);
    rest();
    close(one);
    check_eq!(crate::event_op(kernel::abi::event_channel::op::SEND, &mut { two }), 0, "a send to a closed end is lost");
    check!(!pending(one) && !pending(two), "nobody is notified");
    close(two);
}

/// Several events before the upcall: one upcall, all bits set.
fn order() {
    let ports: [u32; 8] = core::array::from_fn(|_| ipi());
    let info = vcpu_info(0);
    rest();
    for port in ports {
        mask(port, false);
        send(port);
    }
    check!(ports.iter().all(|&port| pending(port)), "all are pending");
    info.set_mask(0);
    nudge();
    info.set_mask(1);
    check_eq!(upcalls(), 1, "one upcall for eight events");
    rest();
    for port in ports {
        clear(port);
        close(port);
    }
}

fn closing() {
    let port = ipi();
    mask(port, false);
    send(port);
    close(port);
    check!(!pending(port), "close clears the pending bit");
    rest();
    check_eq!(ipi(), port, "the lowest free port is taken");
    close(port);
}

fn many() {
    let mut count = 0u32;
    let mut highest = 0;
    let mut lowest = u32::MAX;
    let error = loop {
        match new_ipi() {
            Ok(port) => {
                count += 1;
                highest = highest.max(port);
                lowest = lowest.min(port);
            }
            Err(error) => break error,
        }
    };
    check_eq!(error, error::ENOSPC, "no more ports");
    // A domain may have a lower limit (xl's default is 1023).
    check!(highest == 4095 || !initial_domain() && highest >= 1000, "the highest port is {highest}");
    say!("{count} ports, {lowest} to {highest}");
    mask(highest, false);
    rest();
    send(highest);
    check!(pending(highest), "the highest port works");
    check_eq!(vcpu_info(0).selector(), 1 << (highest / 64), "selector of the highest port");
    rest();
    let mut closed = 0;
    for port in lowest..=highest {
        if crate::event_op(kernel::abi::event_channel::op::CLOSE, &mut { port }) == 0 {
            closed += 1;
        }
    }
    check_eq!(closed, count, "all are closed again");
}
