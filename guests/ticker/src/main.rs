//! A neighbour that needs its share of CPU time; see README.md.
#![no_std]
#![no_main]

use kernel::abi::event_channel::{BindVirq, op};
use kernel::abi::memory::{self, Reservation};
use kernel::abi::sched::{self, Poll};
use kernel::abi::xen::{DomainId, virq};
use kernel::call::number;
use kernel::memory::{argument, initial_domain, p2m, peek, poke, shared_info, total_pages, zeroed};
use kernel::{call, check, check_eq, harness, say, time};

kernel::guest!(main);

const MILLISECOND: u64 = 1_000_000;
/// Duration in seconds, unless `seconds=` is given.
const SECONDS: u64 = 9;

fn main() {
    if initial_domain() {
        harness::skip("it runs only beside guests that stall");
    }
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, op::BIND_VIRQ, &mut bind), 0, "bind the timer");
    let word = shared_info() + 2048 + u64::from(bind.port / 64) * 8;
    let mut frame = p2m(total_pages() - 1);
    let (mut latest, mut longest, mut rounds) = (0, 0, 0u64);
    let end = time::now() + argument("seconds").unwrap_or(SECONDS) * 1000 * MILLISECOND;
    while time::now() < end {
        poke(word, 0u64);
        let at = time::now() + MILLISECOND;
        check_eq!(call!(number::SET_TIMER_OP, at), 0, "set_timer_op");
        let poll = Poll { ports: &raw const bind.port as u64, port_count: 1, timeout: end, ..zeroed() };
        while peek::<u64>(word) >> (bind.port % 64) & 1 == 0 && time::now() < end {
            let _ = call!(number::SCHED_OP, sched::op::POLL, &poll);
        }
        latest = latest.max(time::now().saturating_sub(at));
        let burst = time::now() + MILLISECOND / 10;
        while time::now() < burst {}
        let start = time::now();
        frame = exchange(frame);
        longest = longest.max(time::now() - start);
        rounds += 1;
    }
    say!("{rounds} rounds, timers late by {latest} ns at most, a frame took {longest} ns at most");
    check!(rounds > 50, "only {rounds} rounds in the whole time");
}

/// Releases a frame and allocates another.
fn exchange(frame: u64) -> u64 {
    let mut list = frame;
    let reservation = |list: &mut u64| Reservation {
        extent_start: core::ptr::from_mut(list) as u64,
        extent_count: 1,
        domain: DomainId::SELF,
        ..zeroed()
    };
    let given = call!(number::MEMORY_OP, memory::op::DECREASE_RESERVATION, &reservation(&mut list));
    check_eq!(given, 1, "release a frame");
    list = total_pages() - 1;
    let taken = call!(number::MEMORY_OP, memory::op::POPULATE_PHYSMAP, &reservation(&mut list));
    check_eq!(taken, 1, "allocate a frame");
    list
}
