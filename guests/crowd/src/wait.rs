//! Waits that give up the pCPU.

use kernel::abi::event_channel::{AllocUnbound, op};
use kernel::abi::sched::{self, Poll};
use kernel::abi::xen::{DomainId, SharedInfo};
use kernel::call::number;
use kernel::memory::{peek, poke, shared_info, zeroed};
use kernel::{call, time};

/// The domain of the back ends.
pub(crate) const BACK_END: DomainId = DomainId(0);
/// Longest wait on a busy and emulated machine, in nanoseconds.
const TIMEOUT: u64 = 600_000_000_000;
/// Interval at which a condition is checked without an event, in nanoseconds.
const INTERVAL: u64 = 500_000_000;

/// Allocates a port that the back end can connect to.
pub(crate) fn new_port() -> u32 {
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: BACK_END, ..zeroed() };
    assert_eq!(call!(number::EVENT_CHANNEL_OP, op::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    unbound.port
}

/// Sends an event.
pub(crate) fn notify(port: u32) {
    assert_eq!(call!(number::EVENT_CHANNEL_OP, op::SEND, &port), 0, "send");
}

/// Waits until `get` returns something. It is called after each event on `port`.
pub(crate) fn until<T>(port: u32, what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let deadline = time::now() + TIMEOUT;
    let word = shared_info() + core::mem::offset_of!(SharedInfo, event_pending) as u64 + u64::from(port / 64) * 8;
    loop {
        // Cleared before the check. A lost bit of another port makes that port wait for the
        // interval.
        poke(word, peek::<u64>(word) & !(1 << (port % 64)));
        if let Some(found) = get() {
            return found;
        }
        assert!(time::now() < deadline, "{what} does not come");
        poll(&port, 1, INTERVAL);
    }
}

/// Waits for a time.
pub(crate) fn pause(nanoseconds: u64) {
    poll(&0, 0, nanoseconds);
}

fn poll(port: &u32, port_count: u32, nanoseconds: u64) {
    let timeout = time::now() + nanoseconds;
    let poll = Poll { ports: core::ptr::from_ref(port) as u64, port_count, timeout, ..zeroed() };
    let _ = call!(number::SCHED_OP, sched::op::POLL, &poll);
}
