//! Event channels: 2-level first, then FIFO with words that make the hypervisor search for a long
//! time.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel::abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, ExpandArray, InitControl, SetPriority, Status, fifo, op,
};
use kernel::abi::sched::{self, Poll};
use kernel::abi::xen::{DomainId, SharedInfo, virq};
use kernel::call::number;
use kernel::memory::{mfn_of, page, peek, poke, shared_info, start_info, vcpu_info, zeroed};
use kernel::{call, check_eq, say};

use crate::{Bench, CALLS};

/// Maximum number of ports in a poll.
const POLLED: u32 = 128;
const LINKED: u32 = 1 << fifo::LINKED;

/// The first page of event words and the control block, once the FIFO ABI is in use.
static WORDS: AtomicU64 = AtomicU64::new(0);
static CONTROL: AtomicU64 = AtomicU64::new(0);

/// Takes the timer's event, in either ABI. No other port is ever unmasked and pending.
pub(crate) fn acknowledge(port: u32) {
    let words = WORDS.load(Relaxed);
    if words == 0 {
        let word = shared_info() + offset_of!(SharedInfo, event_pending) as u64 + u64::from(port / 64) * 8;
        poke(word, peek::<u64>(word) & !(1 << (port % 64)));
        vcpu_info(0).set_selector(0);
    } else {
        poke(words + u64::from(port) * 4, 0u32);
        poke(CONTROL.load(Relaxed), 0u32);
    }
}

fn event_op<T>(operation: u32, argument: &mut T) -> i64 {
    call!(number::EVENT_CHANNEL_OP, operation, argument)
}

fn new_ipi() -> Option<u32> {
    let mut ipi = BindIpi { vcpu: 0, port: 0 };
    (event_op(op::BIND_IPI, &mut ipi) == 0).then_some(ipi.port)
}

pub(crate) fn all(bench: &Bench) {
    opened_and_closed(bench);
    used(bench);
    polled(bench);
    start_fifo(bench);
    linked(bench);
}

fn operation(bench: &Bench, name: &str, operation: u32, argument: u64) {
    bench.same(name, number::EVENT_CHANNEL_OP, [operation.into(), argument, 0]);
}

/// Closes all ports except the timer's and the initial ones.
fn close_all(bench: &Bench, name: &str) {
    let start = start_info();
    let first = start.console_event_channel.max(start.store_event_channel).max(crate::gap::port()) + 1;
    for index in 0..CALLS {
        poke(bench.arguments + index * 4, first + index as u32);
    }
    bench.each(name, number::EVENT_CHANNEL_OP, |index| [op::CLOSE.into(), bench.arguments + index * 4, 0]);
}

fn unbound(bench: &Bench) -> u64 {
    bench.put(AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 })
}

fn opened_and_closed(bench: &Bench) {
    let argument = unbound(bench);
    operation(bench, "alloc_unbound", op::ALLOC_UNBOUND, argument);
    close_all(bench, "close");
    let argument = bench.put(BindIpi { vcpu: 0, port: 0 });
    operation(bench, "bind_ipi", op::BIND_IPI, argument);
    operation(bench, "bind_ipi when there are no more", op::BIND_IPI, argument);
    close_all(bench, "close");
    let argument = bench.put(BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 });
    operation(bench, "bind_virq, bound already", op::BIND_VIRQ, argument);
}

fn used(bench: &Bench) {
    let ipi = new_ipi().unwrap_or(0);
    // Masked: these events are not taken.
    poke(shared_info() + offset_of!(SharedInfo, event_mask) as u64 + u64::from(ipi / 64) * 8, 1u64 << (ipi % 64));
    operation(bench, "send", op::SEND, bench.put(ipi));
    operation(bench, "unmask", op::UNMASK, bench.put(crate::gap::port()));
    operation(bench, "bind_vcpu", op::BIND_VCPU, bench.put(BindVcpu { port: ipi, vcpu: 0 }));
    operation(bench, "status", op::STATUS, bench.put(Status { domain: DomainId::SELF, port: ipi, ..zeroed() }));
    let console = start_info().console_event_channel;
    if console != 0 {
        operation(bench, "send to the console", op::SEND, bench.put(console));
    }
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    let bind = bench.put(BindInterdomain { remote_domain: DomainId::SELF, remote_port: unbound.port, ..zeroed() });
    operation(bench, "bind_interdomain", op::BIND_INTERDOMAIN, bind);
    let argument = bench.put(unbound.port);
    operation(bench, "send to another port", op::SEND, argument);
    close_all(bench, "close");
}

/// Polls one pending port, listed many times.
fn polled(bench: &Bench) {
    let list = page();
    let port = new_ipi().unwrap_or(0);
    poke(shared_info() + offset_of!(SharedInfo, event_mask) as u64 + u64::from(port / 64) * 8, 1u64 << (port % 64));
    check_eq!(event_op(op::SEND, &mut { port }), 0, "send");
    for index in 0..POLLED - 1 {
        poke(list + u64::from(index) * 4, 0u32);
    }
    poke(list + u64::from(POLLED - 1) * 4, port);
    let poll = bench.put(Poll { ports: list, port_count: POLLED, ..zeroed() });
    bench.same("sched_op poll of 128 ports", number::SCHED_OP, [sched::op::POLL.into(), poll, 0]);
    check_eq!(event_op(op::CLOSE, &mut { port }), 0, "close");
}

fn start_fifo(bench: &Bench) {
    let (control, words) = (page(), page());
    // No event may arrive before its word exists.
    vcpu_info(0).set_mask(1);
    let mut init = InitControl { control_gfn: mfn_of(control), offset: 0, vcpu: 0, ..zeroed() };
    check_eq!(event_op(op::INIT_CONTROL, &mut init), 0, "init_control");
    check_eq!(event_op(op::EXPAND_ARRAY, &mut ExpandArray { array_gfn: mfn_of(words) }), 0, "expand_array");
    CONTROL.store(control, Relaxed);
    WORDS.store(words, Relaxed);
    vcpu_info(0).set_pending(1);
    vcpu_info(0).set_mask(0);
    operation(bench, "init_control, once more", op::INIT_CONTROL, bench.put(init));
    operation(bench, "expand_array", op::EXPAND_ARRAY, bench.put(ExpandArray { array_gfn: mfn_of(page()) }));
    let priority = SetPriority { port: crate::gap::port(), priority: 7 };
    operation(bench, "set_priority", op::SET_PRIORITY, bench.put(priority));
}

/// Marks every word's port as linked, so that none can be allocated.
fn linked(bench: &Bench) {
    let words = WORDS.load(Relaxed);
    let mut unbound_port = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut unbound_port), 0, "alloc_unbound");
    for port in (0..1024).filter(|&port| port != crate::gap::port()) {
        poke(words + u64::from(port) * 4, LINKED);
    }
    let argument = unbound(bench);
    operation(bench, "alloc_unbound, all words linked", op::ALLOC_UNBOUND, argument);
    let bind = BindInterdomain { remote_domain: DomainId::SELF, remote_port: unbound_port.port, ..zeroed() };
    operation(bench, "bind_interdomain, all words linked", op::BIND_INTERDOMAIN, bench.put(bind));
    operation(bench, "bind_ipi, all words linked", op::BIND_IPI, bench.put(BindIpi { vcpu: 0, port: 0 }));
    for port in (0..1024).filter(|&port| port != crate::gap::port()) {
        poke(words + u64::from(port) * 4, 0u32);
    }
    let free = (0..2000).filter(|_| new_ipi().is_some()).count();
    say!("{free} ports when no word is linked any more");
    kernel::check!(free > 900, "the ports are available again: {free}");
    check_eq!(peek::<u32>(words + 4) & LINKED, 0, "a word that is not linked");
}
