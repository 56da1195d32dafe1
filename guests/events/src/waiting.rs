//! `poll` and `block`.

use kernel::abi::event_channel::{BindVirq, op};
use kernel::abi::sched::{self, Poll};
use kernel::abi::vcpu;
use kernel::abi::xen::virq;
use kernel::call::number;
use kernel::memory::{vcpu_info, zeroed};
use kernel::{call, check, check_eq, say, time};

use crate::two_level::{clear, mask, pending, rest};
use crate::{close, event_op, ipi, send, upcalls};

const MILLISECOND: u64 = 1_000_000;

fn poll(ports: &[u32], timeout: u64) -> i64 {
    let poll = Poll { ports: ports.as_ptr() as u64, port_count: ports.len() as u32, timeout, ..zeroed() };
    call!(number::SCHED_OP, sched::op::POLL, &poll)
}

pub(crate) fn all() {
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    check_eq!(event_op(op::BIND_VIRQ, &mut bind), 0, "bind the timer");
    let (timer, other) = (bind.port, ipi());
    rest();
    mask(timer, true);
    mask(other, true);
    // A poll that times out.
    let start = time::now();
    check_eq!(poll(&[other], start + 20 * MILLISECOND), 0, "poll until a time");
    let waited = time::now() - start;
    check!((20 * MILLISECOND..2000 * MILLISECOND).contains(&waited), "poll of 20 ms took {waited} ns");
    let periodic = pending(timer);
    say!("periodic timer at start: {periodic}");
    check_eq!(call!(number::VCPU_OP, vcpu::op::STOP_PERIODIC_TIMER, 0u32, 0u64), 0, "no periodic timer");
    clear(timer);
    // An event of a masked port ends the wait without an upcall.
    let start = time::now();
    check_eq!(call!(number::SET_TIMER_OP, start + 20 * MILLISECOND), 0, "set_timer_op");
    check_eq!(poll(&[other, timer], start + 5000 * MILLISECOND), 0, "poll with the timer");
    let waited = time::now() - start;
    check!((20 * MILLISECOND..2000 * MILLISECOND).contains(&waited), "poll with the timer took {waited} ns");
    check!(pending(timer) && !pending(other), "the timer is pending");
    check_eq!((vcpu_info(0).pending(), upcalls()), (0, 0), "no upcall");
    // A port that is pending already.
    let start = time::now();
    check_eq!(poll(&[timer], start + 5000 * MILLISECOND), 0, "poll of a pending port");
    check!(time::now() - start < 1000 * MILLISECOND, "it does not wait");
    clear(timer);
    // Block until the event. The upcall is delivered although the mask was set.
    mask(timer, false);
    vcpu_info(0).set_mask(1);
    let start = time::now();
    check_eq!(call!(number::SET_TIMER_OP, start + 20 * MILLISECOND), 0, "set_timer_op");
    check_eq!(call!(number::SCHED_OP, sched::op::BLOCK, 0u32), 0, "block");
    let waited = time::now() - start;
    let mask_after = vcpu_info(0).mask();
    vcpu_info(0).set_mask(1);
    check!((20 * MILLISECOND..2000 * MILLISECOND).contains(&waited), "block took {waited} ns");
    check_eq!((upcalls(), mask_after), (1, 0), "block unmasks, and the upcall is delivered");
    check!(pending(timer), "the timer is pending");
    clear(timer);
    rest();
    // Block with an event that is pending already.
    mask(other, false);
    send(other);
    check_eq!(call!(number::SCHED_OP, sched::op::BLOCK, 0u32), 0, "block with a pending event");
    vcpu_info(0).set_mask(1);
    check_eq!(upcalls(), 1, "the upcall is immediate");
    clear(other);
    rest();
    close(timer);
    close(other);
}
