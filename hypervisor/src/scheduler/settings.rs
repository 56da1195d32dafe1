//! Scheduling parameters that the control domain can set: weight, cap, affinity.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::errno::Errno;
use machine::addr::{CpuId, CpuSet};
use machine::{cpu, time};

use super::cpu::{both, home_queue, online};
use super::state::Place;
use super::wake;
use crate::domain::{Domain, Vcpu};

/// Minimum time that a vCPU runs before one that wakes preempts it, in microseconds. Zero means no
/// limit.
static RATE_LIMIT: AtomicU32 = AtomicU32::new(0);

/// Minimum time that a vCPU runs before one that wakes preempts it, in microseconds. Zero means no
/// limit.
pub(crate) fn rate_limit() -> u32 {
    RATE_LIMIT.load(Ordering::Relaxed)
}

/// Sets the minimum time that a vCPU runs before one that wakes preempts it, in microseconds. Zero
/// means no limit.
pub(crate) fn set_rate_limit(microseconds: u32) {
    RATE_LIMIT.store(microseconds, Ordering::Relaxed);
}

/// Sets a domain's weight relative to others. The default is 256.
///
/// # Errors
/// `EINVAL` for zero.
pub(crate) fn set_weight(domain: &Domain, weight: u16) -> Result<(), Errno> {
    if weight == 0 {
        return Err(Errno::EINVAL);
    }
    domain.scheduling.set_weight(weight);
    Ok(())
}

/// Sets the maximum CPU time of a domain in percent of one pCPU. Zero means no limit.
pub(crate) fn set_cap(domain: &Domain, cap: u16) {
    domain.scheduling.set_cap(cap);
}

/// Sets the pCPUs that may run the vCPU. It soon leaves any other pCPU.
///
/// # Errors
/// `EINVAL` if none of them is online.
pub(crate) fn set_affinity(vcpu: &Arc<Vcpu>, set: CpuSet) -> Result<(), Errno> {
    if both(set, online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    let state = &vcpu.scheduling;
    state.set_affinity(set);
    let (home, mut queue) = home_queue(vcpu);
    if set.contains(home) {
        return Ok(());
    }
    match state.place() {
        Place::Off => {}
        Place::Running | Place::LazyIdle => {
            state.preempt.store(true, Ordering::SeqCst);
            state.attention.store(true, Ordering::SeqCst);
            drop(queue);
            if home != cpu::current() {
                cpu::kick(home);
            }
        }
        Place::Queued => {
            // A vCPU that is being moved, or set aside, is checked when it is picked.
            let taken = queue.run.take(|waiting| Arc::ptr_eq(waiting, vcpu));
            queue.publish(home);
            drop(queue);
            if let Some((vcpu, lag)) = taken {
                wake::dispatch(&vcpu, lag, time::now());
            }
        }
    }
    Ok(())
}

/// Sets the preferred pCPUs of the vCPU. It is sent there when it wakes, if it may run there and
/// one is idle.
///
/// # Errors
/// `EINVAL` if none of them is online.
pub(crate) fn set_soft_affinity(vcpu: &Vcpu, set: CpuSet) -> Result<(), Errno> {
    if both(set, online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    vcpu.scheduling.set_soft_affinity(set);
    // A lazily idle vCPU must not wake on its current pCPU.
    super::kick(vcpu);
    Ok(())
}

/// Pins the vCPU to one pCPU until [`lift_pin_override`].
///
/// # Errors
/// `EINVAL` if there is no such pCPU, `EBUSY` if the vCPU is tied to another already.
pub(crate) fn override_pin(vcpu: &Arc<Vcpu>, number: u32) -> Result<(), Errno> {
    let state = &vcpu.scheduling;
    let cpu = CpuId::new(number).filter(|cpu| online().contains(*cpu)).ok_or(Errno::EINVAL)?;
    let mut set = CpuSet::EMPTY;
    set.insert(cpu);
    let before = state.affinity();
    if state.overridden().is_some() {
        return if before == set { Ok(()) } else { Err(Errno::EBUSY) };
    }
    set_affinity(vcpu, set)?;
    state.set_overridden(before);
    Ok(())
}

/// Gives the vCPU back the affinity that it had before [`override_pin`].
///
/// # Errors
/// `EINVAL` if there was no override.
pub(crate) fn lift_pin_override(vcpu: &Arc<Vcpu>) -> Result<(), Errno> {
    let before = vcpu.scheduling.overridden().ok_or(Errno::EINVAL)?;
    vcpu.scheduling.set_overridden(CpuSet::EMPTY);
    set_affinity(vcpu, before)
}
