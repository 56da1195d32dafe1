//! Events between two domains that wait for each other.

use core::mem::offset_of;

use kernel::abi::event_channel::{AllocUnbound, BindInterdomain, op};
use kernel::abi::sched::{self, Poll};
use kernel::abi::xen::{DomainId, SharedInfo};
use kernel::call::number;
use kernel::memory::{peek, poke, shared_info, zeroed};
use kernel::{call, check_eq, harness, say, time};

const ROUNDS: usize = 12;
const TIMES: usize = 20;
/// Rounds before the measurement.
const WARM: usize = 5;
/// Number of the other domain's ports that are tried.
const PORTS: u32 = 32;
const TIMEOUT: u64 = 60_000_000_000;

/// Starts each round trip, and measures it.
pub(crate) fn ping(peer: u16) {
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId(peer), port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    let port = unbound.port;
    // The other side sends first, once it has bound its end.
    wait(port);
    let turn = || {
        send(port);
        wait(port);
    };
    (0..WARM).for_each(|_| turn());
    let go = |_| {
        let start = time::tsc();
        (0..TIMES).for_each(|_| turn());
        time::tsc() - start
    };
    let least = (0..ROUNDS).map(go).min().unwrap_or(0);
    say!("cost event-ping-pong {}", least / TIMES as u64);
}

/// Replies to each event.
pub(crate) fn pong(peer: u16) {
    let end = time::now() + TIMEOUT;
    let port = loop {
        if let Some(port) = (1..PORTS).find_map(|port| bind(peer, port)) {
            break port;
        }
        if time::now() > end {
            harness::error(format_args!("domain {peer} has no unbound port"));
        }
        kernel::call::yield_now();
    };
    // A port is pending after it has been bound, although no event was sent.
    take(port);
    send(port);
    for _ in 0..WARM + ROUNDS * TIMES {
        wait(port);
        send(port);
    }
}

fn bind(peer: u16, remote_port: u32) -> Option<u32> {
    let mut bind = BindInterdomain { remote_domain: DomainId(peer), remote_port, ..zeroed() };
    (call!(number::EVENT_CHANNEL_OP, op::BIND_INTERDOMAIN, &mut bind) == 0).then_some(bind.local_port)
}

fn send(port: u32) {
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::SEND, &port), 0, "send");
}

/// Yields the pCPU until the port has an event, and takes it.
fn wait(port: u32) {
    let end = time::now() + TIMEOUT;
    while !take(port) {
        let poll = Poll { ports: &raw const port as u64, port_count: 1, timeout: end, ..zeroed() };
        check_eq!(call!(number::SCHED_OP, sched::op::POLL, &poll), 0, "poll");
        if time::now() > end {
            harness::error(format_args!("no event arrives"));
        }
    }
}

/// Whether the port was pending. Clears it.
fn take(port: u32) -> bool {
    let word = shared_info() + offset_of!(SharedInfo, event_pending) as u64 + u64::from(port / 64) * 8;
    let found = peek::<u64>(word) >> (port % 64) & 1 != 0;
    if found {
        poke(word, 0u64);
    }
    found
}
