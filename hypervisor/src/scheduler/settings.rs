//! What the control domain may set: weight, cap, affinity.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::errno::Errno;
use machine::addr::{CpuId, CpuSet};
use machine::{cpu, time};

use super::cpu::{both, home_queue, online};
use super::state::Place;
use super::wake;
use crate::domain::{Domain, Vcpu};

/// How long a vCPU runs at least before one that wakes takes its pCPU, in microseconds.
static RATE_LIMIT: AtomicU32 = AtomicU32::new(0);

/// How long a vCPU runs at least before one that wakes takes its pCPU, in microseconds; zero for no limit.
pub(crate) fn rate_limit() -> u32 {
    RATE_LIMIT.load(Ordering::Relaxed)
}

/// Sets how long a vCPU runs at least before one that wakes takes its pCPU, in microseconds; zero for no limit.
pub(crate) fn set_rate_limit(microseconds: u32) {
    RATE_LIMIT.store(microseconds, Ordering::Relaxed);
}

/// Sets a domain's weight against others; 256 is usual.
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

/// Sets the most CPU time that a domain gets, in percent of one pCPU; zero for no limit.
pub(crate) fn set_cap(domain: &Domain, cap: u16) {
    domain.scheduling.set_cap(cap);
}

/// Sets the pCPUs that may run the vCPU. It leaves others soon.
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
            // One that is on its way, or set aside, is looked at again when it is picked.
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

/// Sets the pCPUs that suit the vCPU best. It goes there when it wakes, as far as it may run there and there is room.
///
/// # Errors
/// `EINVAL` if none of them is online.
pub(crate) fn set_soft_affinity(vcpu: &Vcpu, set: CpuSet) -> Result<(), Errno> {
    if both(set, online()).is_empty() {
        return Err(Errno::EINVAL);
    }
    vcpu.scheduling.set_soft_affinity(set);
    // If it dozes, it is not to wake where it is.
    super::kick(vcpu);
    Ok(())
}

/// Ties the vCPU to one pCPU until [`lift_pin_override`].
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
