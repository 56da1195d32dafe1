//! Lazy idle: a vCPU that blocks while no other vCPU wants its pCPU stays loaded, and the pCPU
//! halts.
//!
//! For the guest, for accounting and for other pCPUs, the vCPU is blocked and the pCPU is idle, but
//! neither the vCPU's context nor its queue position is moved when it wakes.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::addr::CpuId;
use machine::{cpu, time};

use super::cpu::{leave_idle, queue, set_idle, waiting};
use super::runstate::Runstate;
use super::state::Place;
use super::{balance, cores, switch};
use crate::domain::{Domain, Vcpu};

/// Whether the current vCPU, which has to stop, may stay loaded: the only reason to stop is that it
/// is blocked, or was until now.
pub(crate) fn may_idle_lazily(vcpu: &Vcpu, domain: &Domain) -> bool {
    !has_to_leave(vcpu, domain, cpu::current())
}

/// Whether the vCPU must leave this pCPU for a reason other than being blocked.
fn has_to_leave(vcpu: &Vcpu, domain: &Domain, cpu: CpuId) -> bool {
    vcpu.scheduling.preempt.load(Ordering::SeqCst)
        || !vcpu.scheduling.soft_affinity().contains(cpu)
        || !vcpu.is_up()
        || domain.is_paused()
        || domain.is_dying()
        || waiting(cpu) != 0
}

/// Halts this pCPU by `wait` until the current vCPU is not blocked, or must leave, or there is
/// other `work`. Returns whether the vCPU resumes; otherwise `must_stop` holds. The vCPU's root
/// table must not be loaded. `wait` halts until an interrupt arrives, and handles pending work.
pub(crate) fn idle_lazily(vcpu: &Arc<Vcpu>, domain: &Domain, work: impl Fn() -> bool, wait: impl Fn(CpuId)) -> bool {
    let cpu = cpu::current();
    enter(cpu, vcpu, domain);
    loop {
        set_idle(cpu);
        // SC-2, SC-4: the vCPU's place and the pCPU's idle mark are set, so this is the last check.
        if !vcpu.scheduling.is_blocked() || has_to_leave(vcpu, domain, cpu) || work() || balance::steal(cpu) {
            break;
        }
        wait(cpu);
    }
    leave_idle(cpu);
    leave(cpu, vcpu, domain, work())
}

fn enter(cpu: CpuId, vcpu: &Vcpu, domain: &Domain) {
    let (state, now) = (&vcpu.scheduling, time::now());
    let mut queue = queue(cpu);
    let (virtual_time, current) = switch::vacate(&mut queue, vcpu, domain, now);
    cores::leave(cpu, false);
    state.set_virtual_time(virtual_time);
    state.set_place(Place::LazyIdle);
    state.enter(Runstate::Blocked, now);
    drop(queue);
    drop(current);
    domain.scheduling.note_active(false);
}

/// Resumes the vCPU, or makes it leave its pCPU. It also leaves if it is runnable but others want
/// the pCPU, its domain has reached its cap, or its core serves another group. It is then scheduled
/// like other vCPUs.
fn leave(cpu: CpuId, vcpu: &Arc<Vcpu>, domain: &Domain, work: bool) -> bool {
    let (state, now) = (&vcpu.scheduling, time::now());
    domain.scheduling.note_active(true);
    let mut queue = queue(cpu);
    let virtual_time = domain.scheduling.after_sleep(cpu, state.virtual_time(), queue.run.earliest());
    switch::make_current(&mut queue, vcpu, virtual_time, now);
    drop(queue);
    let allowance = domain.scheduling.allowance(now).ok();
    let allowance = allowance.filter(|_| !state.is_blocked() && !work && !has_to_leave(vcpu, domain, cpu));
    let allowance = allowance.filter(|_| cores::resume(cpu, vcpu));
    match allowance {
        Some(allowance) => {
            state.note_ready(now);
            switch::begin(cpu, vcpu, domain, now, allowance, work);
        }
        None => state.preempt.store(true, Ordering::SeqCst),
    }
    state.attention.store(true, Ordering::SeqCst);
    allowance.is_some()
}

/// Makes the vCPU leave its pCPU if it is lazily idle, so that its context is parked. Returns
/// whether it was.
pub(crate) fn end_lazy_idle(vcpu: &Vcpu) -> bool {
    let is_lazy_idle = vcpu.scheduling.place() == Place::LazyIdle;
    if is_lazy_idle {
        vcpu.scheduling.preempt.store(true, Ordering::SeqCst);
        super::kick(vcpu);
    }
    is_lazy_idle
}
