//! Keeping a domain's vCPUs from running, and waiting for them to stop.

use machine::{cpu, time, tlb};

use crate::domain::{Domain, Vcpu};

/// The longest that a caller waits, in nanoseconds.
const MAX_WAIT: u64 = 500_000;

/// Keeps the domain's vCPUs from running until as many calls of [`unpause`]; those that run stop
/// soon.
pub(crate) fn pause(domain: &Domain) {
    domain.add_pause();
    kick_all(domain);
}

/// Takes one pause back.
pub(crate) fn unpause(domain: &Domain) {
    if domain.remove_pause() {
        domain.vcpus().iter().for_each(super::wake);
    }
}

/// Makes all vCPUs of the domain that run look up.
pub(crate) fn kick_all(domain: &Domain) {
    domain.vcpus().iter().for_each(|vcpu| super::kick(vcpu));
}

/// Waits until no pCPU has the vCPU, so that its state is parked. The caller has seen to it that it will stop and not run again: its
/// domain is paused, or it is down. `false` if it runs still after about half a millisecond (or is the one that this pCPU
/// runs): the caller has to let its own pCPU go before it tries again, since two that wait for each other would wait for ever.
#[must_use]
pub(crate) fn wait_until_parked(vcpu: &Vcpu) -> bool {
    let state = &vcpu.scheduling;
    super::kick(vcpu);
    if !state.has_cpu() {
        return true;
    }
    if state.home() == cpu::current() {
        return false;
    }
    let end = time::now() + MAX_WAIT;
    while state.has_cpu() {
        if time::now() >= end {
            return false;
        }
        tlb::serve();
        core::hint::spin_loop();
    }
    true
}
