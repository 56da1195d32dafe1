//! vCPUs that wait for particular event ports (`SCHEDOP_poll`), even if these are masked.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::domain::{Domain, Port, Vcpu};

/// The vCPU does not poll.
pub(super) const NOT_POLLING: u64 = 0;
/// The vCPU polls several ports, or none. Any port that becomes pending wakes it, and its guest
/// checks the ports itself.
const ANY_PORT: u64 = u64::MAX;

/// The mark of a vCPU that polls one port.
fn mark_of(port: Port) -> u64 {
    u64::from(port.get()) + 1
}

/// Blocks the vCPU until one of `ports` becomes pending, an event is delivered, or another
/// condition wakes it. The caller then checks whether a port is already pending, and if so calls
/// [`super::wake`].
pub(crate) fn start_polling(vcpu: &Arc<Vcpu>, domain: &Domain, ports: &[Port]) {
    let mark = match ports {
        [port] => mark_of(*port),
        _ => ANY_PORT,
    };
    let state = &vcpu.scheduling;
    if state.polling.swap(mark, Ordering::SeqCst) == NOT_POLLING {
        domain.scheduling.pollers.fetch_add(1, Ordering::SeqCst);
    }
    super::block(vcpu);
}

/// Ends the vCPU's poll. Returns `false` if there was none.
pub(super) fn stop_polling(vcpu: &Vcpu, domain: &Domain) -> bool {
    let state = &vcpu.scheduling;
    // Every event takes this path, and few vCPUs poll, so the load comes first.
    let polled = state.polling.load(Ordering::SeqCst) != NOT_POLLING
        && state.polling.swap(NOT_POLLING, Ordering::SeqCst) != NOT_POLLING;
    if polled {
        domain.scheduling.pollers.fetch_sub(1, Ordering::SeqCst);
    }
    polled
}

/// Wakes a vCPU whose poll has timed out.
pub(crate) fn poll_timeout(vcpu: &Arc<Vcpu>) {
    if vcpu.scheduling.polling.load(Ordering::SeqCst) != NOT_POLLING {
        super::wake(vcpu);
    }
}

/// Wakes the vCPUs that poll `port` of the domain, which has become pending. Returns their number.
/// Called after the pending bit has been set.
pub(crate) fn wake_pollers(domain: &Arc<Domain>, port: Port) -> u32 {
    if domain.scheduling.pollers.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    let mut woken = 0;
    for vcpu in domain.vcpus() {
        let polled = vcpu.scheduling.polling.load(Ordering::SeqCst);
        if polled == ANY_PORT || polled == mark_of(port) {
            super::wake(vcpu);
            woken += 1;
        }
    }
    woken
}
