//! Pausing a domain's vCPUs, and waiting until they have stopped.

use machine::{cpu, time, tlb};

use crate::domain::{Domain, Vcpu};

/// Maximum time that a caller waits, in nanoseconds.
const MAX_WAIT: u64 = 500_000;

/// Pauses the domain until [`unpause`] has been called as many times. Its running vCPUs stop soon.
pub(crate) fn pause(domain: &Domain) {
    domain.add_pause();
    kick_all(domain);
}

/// Undoes one [`pause`].
pub(crate) fn unpause(domain: &Domain) {
    if domain.remove_pause() {
        domain.vcpus().iter().for_each(super::wake);
    }
}

/// Makes all running vCPUs of the domain check for pending work.
pub(crate) fn kick_all(domain: &Domain) {
    domain.vcpus().iter().for_each(|vcpu| super::kick(vcpu));
}

/// Waits until no pCPU has the vCPU loaded, so that its context is parked. The caller has ensured
/// that the vCPU will stop and not run again: its domain is paused, or it is down.
///
/// Returns `false` if it is still loaded after [`MAX_WAIT`], or if this pCPU runs it. The caller
/// must then leave its own pCPU before it tries again, since two vCPUs could otherwise wait for
/// each other forever.
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
