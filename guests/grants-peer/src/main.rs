//! The other domain of `grants`; see README.md.
#![no_std]
#![no_main]

use kernel::abi::event_channel::{AllocUnbound, op as event};
use kernel::abi::grant_table::entry_flags;
use kernel::abi::sched::{self, Poll};
use kernel::abi::xen::DomainId;
use kernel::call::number;
use kernel::grants::{grant, map, start, unmap};
use kernel::memory::{argument, mfn_of, page, peek, poke, shared_info, zeroed};
use kernel::{call, check, check_eq, harness, tables, time};

kernel::guest!(main);

fn main() {
    let Some(other) = argument("peer") else {
        harness::skip("it is the other domain of `grants`");
    };
    let other = other as u16;
    start();
    let (mailbox, private, readable, window) = (page(), page(), page(), page());
    for at in 0..512u64 {
        poke(readable + at * 8, at * 3);
    }
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId(other), port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, event::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    poke(mailbox + 8, u64::from(unbound.port));
    poke(mailbox + 40, mfn_of(private));
    poke(mailbox, 0x7065_6572_6d61_696cu64);
    grant(9, 0x5555, mfn_of(private), entry_flags::PERMIT_ACCESS);
    grant(10, other, mfn_of(readable), entry_flags::PERMIT_ACCESS | entry_flags::READONLY);
    grant(8, other, mfn_of(mailbox), entry_flags::PERMIT_ACCESS);
    let mut answered = 0;
    while answered != 3 {
        let request = next(mailbox, unbound.port, answered);
        if request == 2 {
            add_one(other, peek::<u64>(mailbox + 32) as u32, window);
        }
        answered = request;
        poke(mailbox + 24, answered);
    }
    check_eq!(peek::<[u64; 512]>(private), [0; 512], "the page without a grant is unchanged");
}

/// Waits for a request that differs from the last one; an event signals it.
fn next(mailbox: u64, port: u32, last: u64) -> u64 {
    let end = time::now() + 60_000_000_000;
    loop {
        let request: u64 = peek(mailbox + 16);
        if request != last {
            return request;
        }
        if time::now() > end {
            harness::error(format_args!("no request arrives"));
        }
        poke(shared_info() + 2048 + u64::from(port / 64) * 8, 0u64);
        if peek::<u64>(mailbox + 16) == last {
            let poll =
                Poll { ports: &raw const port as u64, port_count: 1, timeout: time::now() + 1_000_000_000, ..zeroed() };
            let _ = call!(number::SCHED_OP, sched::op::POLL, &poll);
        }
    }
}

/// Adds one to each word of a page that the other domain has granted.
fn add_one(other: u16, reference: u32, window: u64) {
    check_eq!(tables::update_va(window, 0, 2), 0, "making room");
    match map(other, reference, window, 0) {
        Err(status) => {
            check!(false, "map of the other's page: {status}");
        }
        Ok((handle, _)) => {
            for at in 0..512u64 {
                poke(window + at * 8, peek::<u64>(window + at * 8) + 1);
            }
            check_eq!(unmap(window, handle), 0, "unmap");
        }
    }
}
