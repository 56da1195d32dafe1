//! vCPUs that wait for certain event ports (`SCHEDOP_poll`), whether or not these would be delivered.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::domain::{Domain, Vcpu};

/// The vCPU polls nothing.
pub(super) const NOT_POLLING: u64 = 0;
/// It polls several ports, or none; any port that becomes pending wakes it, and its guest looks for itself.
const ANY_PORT: u64 = u64::MAX;

/// The vCPU is blocked until one of `ports` becomes pending, an event is delivered, or something else wakes it. The caller then
/// looks whether that has happened already, and if so calls [`super::wake`].
pub(crate) fn start_polling(vcpu: &Arc<Vcpu>, domain: &Domain, ports: &[u32]) {
    let mark = match ports {
        [port] => u64::from(*port) + 1,
        _ => ANY_PORT,
    };
    let state = &vcpu.scheduling;
    if state.polling.swap(mark, Ordering::SeqCst) == NOT_POLLING {
        domain.scheduling.pollers.fetch_add(1, Ordering::SeqCst);
    }
    super::block(vcpu);
}

/// Ends the vCPU's poll; `false` if there was none.
pub(super) fn stop_polling(vcpu: &Vcpu, domain: &Domain) -> bool {
    let state = &vcpu.scheduling;
    // This is on the path of every event, and hardly any vCPU polls.
    let polled = state.polling.load(Ordering::SeqCst) != NOT_POLLING
        && state.polling.swap(NOT_POLLING, Ordering::SeqCst) != NOT_POLLING;
    if polled {
        domain.scheduling.pollers.fetch_sub(1, Ordering::SeqCst);
    }
    polled
}

/// The time of a poll is up.
pub(crate) fn poll_timeout(vcpu: &Arc<Vcpu>) {
    if vcpu.scheduling.polling.load(Ordering::SeqCst) != NOT_POLLING {
        super::wake(vcpu);
    }
}

/// `port` of the domain has become pending: wakes those that poll it, and tells how many they were.
/// To be called after the pending bit has been set.
pub(crate) fn wake_pollers(domain: &Arc<Domain>, port: u32) -> u32 {
    if domain.scheduling.pollers.load(Ordering::SeqCst) == 0 {
        return 0;
    }
    let mut woken = 0;
    for vcpu in domain.vcpus() {
        let polled = vcpu.scheduling.polling.load(Ordering::SeqCst);
        if polled == ANY_PORT || polled == u64::from(port) + 1 {
            super::wake(vcpu);
            woken += 1;
        }
    }
    woken
}
