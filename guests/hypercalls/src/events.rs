//! Results of `event_channel_op` and `sched_op`. The guest `events` tests the delivery of events.

use kernel::abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, Status, op, status};
use kernel::abi::sched::{self, Poll, RemoteShutdown, Watchdog};
use kernel::abi::xen::{DomainId, virq};
use kernel::call::{error, number};
use kernel::memory::{initial_domain, page, poke, shared_info, vcpu_info, zeroed};
use kernel::{call, check, check_eq, trap};

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::faults;

static UPCALLS: AtomicU32 = AtomicU32::new(0);

fn event_op<T>(op: u32, argument: &mut T) -> i64 {
    call!(number::EVENT_CHANNEL_OP, op, argument)
}

pub(crate) fn all() {
    event_channels();
    virqs();
    refused();
    old_call();
    scheduling();
    polling();
    watchdog();
}

fn status_of(port: u32) -> (i64, Status) {
    let mut status = Status { domain: DomainId::SELF, port, ..zeroed() };
    (event_op(op::STATUS, &mut status), status)
}

fn event_channels() {
    for op in 0..=13 {
        if op != op::BIND_PIRQ {
            faults("event_channel_op", |bad| call!(number::EVENT_CHANNEL_OP, op, bad));
        }
    }
    for op in [15u32, 100, u32::MAX] {
        check_eq!(call!(number::EVENT_CHANNEL_OP, op, page()), error::ENOSYS, "event_channel_op, unknown {op}");
    }
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    check!(unbound.port != 0, "the port is not 0");
    let (result, seen) = status_of(unbound.port);
    check_eq!((result, seen.status), (0, status::UNBOUND), "status of an unbound port");
    check_eq!(event_op(op::SEND, &mut { unbound.port }), 0, "send on an unbound port does nothing");
    let mut bind = BindInterdomain { remote_domain: DomainId::SELF, remote_port: unbound.port, ..zeroed() };
    check_eq!(event_op(op::BIND_INTERDOMAIN, &mut bind), 0, "bind_interdomain to oneself");
    let (result, seen) = status_of(bind.local_port);
    check_eq!((result, seen.status), (0, status::INTERDOMAIN), "status of a bound port");
    check_eq!(seen.remote_port, unbound.port, "its other end");
    check_eq!(event_op(op::BIND_INTERDOMAIN, &mut bind.clone()), error::EINVAL, "bind to a bound port");
    check_eq!(event_op(op::SEND, &mut { bind.local_port }), 0, "send");
    check_eq!(event_op(op::UNMASK, &mut { bind.local_port }), 0, "unmask");
    check_eq!(event_op(op::BIND_VCPU, &mut BindVcpu { port: bind.local_port, vcpu: 0 }), 0, "bind_vcpu");
    check_eq!(
        event_op(op::BIND_VCPU, &mut BindVcpu { port: bind.local_port, vcpu: 77 }),
        error::ENOENT,
        "bind_vcpu 77"
    );
    check_eq!(event_op(op::CLOSE, &mut { bind.local_port }), 0, "close");
    check_eq!(status_of(unbound.port).1.status, status::UNBOUND, "closing one end leaves the other unbound");
    check_eq!(event_op(op::CLOSE, &mut { unbound.port }), 0, "close");
    check_eq!(event_op(op::CLOSE, &mut { unbound.port }), error::EINVAL, "close twice");
    check_eq!(status_of(unbound.port).1.status, status::CLOSED, "status of a closed port");
    for port in [0u32, 5000, 0x2_0000, u32::MAX] {
        check_eq!(event_op(op::CLOSE, &mut { port }), error::EINVAL, "close {port:#x}");
        check_eq!(event_op(op::SEND, &mut { port }), error::EINVAL, "send on {port:#x}");
        if port != 0 {
            check_eq!(event_op(op::UNMASK, &mut { port }), error::EINVAL, "unmask {port:#x}");
        }
        check_eq!(event_op(op::BIND_VCPU, &mut BindVcpu { port, vcpu: 0 }), error::EINVAL, "bind_vcpu of {port:#x}");
        if port != 0 {
            check_eq!(status_of(port).0, error::EINVAL, "status of {port:#x}");
        }
    }
    let mut nobody = AllocUnbound { domain: DomainId(0x123), ..unbound };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut nobody), error::ESRCH, "alloc_unbound for a nonexistent domain");
    let mut nobody = BindInterdomain { remote_domain: DomainId(0x123), ..bind };
    check_eq!(event_op(op::BIND_INTERDOMAIN, &mut nobody), error::ESRCH, "bind_interdomain to a nonexistent domain");
    let mut ipi = BindIpi { vcpu: 0, port: 0 };
    check_eq!(event_op(op::BIND_IPI, &mut ipi), 0, "bind_ipi");
    check_eq!(event_op(op::BIND_VCPU, &mut BindVcpu { port: ipi.port, vcpu: 0 }), error::EINVAL, "bind_vcpu of an IPI");
    check_eq!(event_op(op::CLOSE, &mut { ipi.port }), 0, "close an IPI");
    check_eq!(event_op(op::BIND_IPI, &mut BindIpi { vcpu: 77, port: 0 }), error::ENOENT, "bind_ipi for vCPU 77");
}

fn virqs() {
    let bind = |virq: u32, vcpu: u32| {
        let mut bind = BindVirq { virq, vcpu, port: 0 };
        (event_op(op::BIND_VIRQ, &mut bind), bind.port)
    };
    for virq in [virq::TIMER, virq::DEBUG, virq::XENPMU] {
        let (result, port) = bind(virq, 0);
        check_eq!(result, 0, "bind VIRQ {virq}");
        check_eq!(bind(virq, 0).0, error::EEXIST, "bind VIRQ {virq} twice");
        check_eq!(bind(virq, 77).0, error::ENOENT, "bind VIRQ {virq} for vCPU 77");
        let (_, seen) = status_of(port);
        check_eq!((seen.status, seen.bound_to), (status::VIRQ, virq), "status of VIRQ {virq}");
        check_eq!(event_op(op::SEND, &mut { port }), error::EINVAL, "send on VIRQ {virq}");
        check_eq!(event_op(op::CLOSE, &mut { port }), 0, "close VIRQ {virq}");
    }
    for virq in [virq::COUNT, 100, u32::MAX] {
        check_eq!(bind(virq, 0).0, error::EINVAL, "bind VIRQ {virq}");
    }
}

fn refused() {
    if initial_domain() {
        return;
    }
    let mut other = AllocUnbound { domain: DomainId(0), remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut other), error::EPERM, "alloc_unbound in domain 0");
    check_eq!(event_op(op::RESET, &mut { 0u16 }), error::EPERM, "reset of domain 0");
    let mut status = Status { domain: DomainId(0), port: 1, ..zeroed() };
    check_eq!(event_op(op::STATUS, &mut status), error::EPERM, "status of a port of domain 0");
    // Global VIRQs have no meaning for an unprivileged guest; binding them needs no privilege.
    let mut pirq = [1u32, 0, 0];
    let result = event_op(op::BIND_PIRQ, &mut pirq);
    check!(result == error::EPERM || result == error::EINVAL, "bind_pirq unprivileged: {result}");
}

/// The call with the sub-operation and argument in one structure.
fn old_call() {
    let place = page();
    poke(place, [op::BIND_IPI, 0, 0, 0]);
    check_eq!(call!(number::EVENT_CHANNEL_OP_COMPAT, place), 0, "the old event_channel_op");
    let port: u32 = kernel::memory::peek(place + 8);
    check_eq!(event_op(op::CLOSE, &mut { port }), 0, "closing its port");
    faults("the old event_channel_op", |bad| call!(number::EVENT_CHANNEL_OP_COMPAT, bad));
    poke(place, [100u32, 0, 0, 0]);
    check_eq!(call!(number::EVENT_CHANNEL_OP_COMPAT, place), error::ENOSYS, "the old event_channel_op, unknown");
}

fn scheduling() {
    check_eq!(call!(number::SCHED_OP, sched::op::YIELD, 0u32), 0, "yield");
    check_eq!(call!(number::SCHED_OP_COMPAT, 0u32, 0u32), 0, "the old yield");
    check_eq!(call!(number::SCHED_OP_COMPAT, 7u32, 0u32), error::ENOSYS, "the old sched_op, unknown");
    let info = vcpu_info(0);
    trap::set_hook(
        true,
        Some(|_| {
            UPCALLS.fetch_add(1, Relaxed);
            vcpu_info(0).set_pending(0);
            true
        }),
    );
    info.set_pending(1);
    check_eq!(call!(number::SCHED_OP, sched::op::BLOCK, 0u32), 0, "block with an event pending returns immediately");
    check_eq!(info.mask(), 0, "it clears the mask");
    check_eq!(UPCALLS.load(Relaxed), 1, "so the event arrives");
    info.set_mask(1);
    trap::set_hook(true, None);
    for op in [sched::op::SHUTDOWN, sched::op::POLL, sched::op::REMOTE_SHUTDOWN, sched::op::WATCHDOG] {
        faults("sched_op", |bad| call!(number::SCHED_OP, op, bad));
    }
    faults("sched_op", |bad| call!(number::SCHED_OP, sched::op::SHUTDOWN_CODE, bad));
    for op in [8u32, 100, u32::MAX] {
        check_eq!(call!(number::SCHED_OP, op, page()), error::ENOSYS, "sched_op, unknown {op}");
    }
    let remote = RemoteShutdown { domain: DomainId(0x123), _pad: 0, reason: 0 };
    check_eq!(
        call!(number::SCHED_OP, sched::op::REMOTE_SHUTDOWN, &remote),
        error::ESRCH,
        "remote_shutdown of a nonexistent domain"
    );
    if !initial_domain() {
        let remote = RemoteShutdown { domain: DomainId(0), _pad: 0, reason: 0 };
        check_eq!(
            call!(number::SCHED_OP, sched::op::REMOTE_SHUTDOWN, &remote),
            error::EPERM,
            "remote_shutdown of domain 0"
        );
        check_eq!(call!(number::SCHED_OP, sched::op::PIN_OVERRIDE, &0i32), error::EPERM, "pin_override");
    }
}

fn polling() {
    let poll = |ports: u64, port_count: u32, timeout: u64| {
        let poll = Poll { ports, port_count, timeout, ..zeroed() };
        call!(number::SCHED_OP, sched::op::POLL, &poll)
    };
    let mut ipi = BindIpi { vcpu: 0, port: 0 };
    check_eq!(event_op(op::BIND_IPI, &mut ipi), 0, "bind_ipi");
    let list = page();
    poke(list, [ipi.port; 128]);
    check_eq!(event_op(op::SEND, &mut { ipi.port }), 0, "send");
    check_eq!(poll(list, 1, 0), 0, "poll of a pending port returns immediately");
    check_eq!(poll(list, 128, 0), 0, "poll of 128 ports");
    check_eq!(poll(list, 129, 0), error::EINVAL, "poll of 129 ports");
    // The guest clears the pending bit; the timeout is in the past.
    poke(shared_info() + 2048 + u64::from(ipi.port / 64) * 8, 0u64);
    check_eq!(poll(list, 1, 1), 0, "poll until a time that is past");
    check_eq!(poll(list, 0, 1), 0, "poll of nothing until a time that is past");
    for bad in crate::BAD {
        check_eq!(poll(bad, 1, 1), error::EFAULT, "poll, list at {bad:#x}");
    }
    poke(list, 0x10_0000u32);
    check_eq!(poll(list, 1, 1), error::EINVAL, "poll of an invalid port");
    check_eq!(event_op(op::CLOSE, &mut { ipi.port }), 0, "close");
}

fn watchdog() {
    let set = |id: u32, timeout: u32| call!(number::SCHED_OP, sched::op::WATCHDOG, &Watchdog { id, timeout });
    let id = set(0, 1000);
    check!(id == 1, "a new watchdog: {id}");
    check_eq!(set(1, 2000), 0, "postponed");
    check_eq!(set(0, 1000), 2, "another");
    // Xen returns only the low 32 bits of the number.
    check_eq!(set(0, 1000) as i32, error::ENOSPC as i32, "one too many");
    check_eq!(set(1, 0), 0, "stopped");
    check_eq!(set(2, 0), 0, "stopped");
    check_eq!(set(1, 0), error::EINVAL, "stopped twice");
    check_eq!(set(3, 1), error::EINVAL, "no such watchdog");
}
