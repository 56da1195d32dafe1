//! A vCPU that waits for an event while nobody else wants its pCPU stays loaded there, and the pCPU halts: to the guest, to the accounts and to the other pCPUs it
//! is blocked and the pCPU idle, but neither its state nor its place in a queue have to be moved when it wakes.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::addr::CpuId;
use machine::{cpu, time};

use super::cpu::{leave_idle, queue, set_idle, waiting};
use super::runstate::Runstate;
use super::state::Place;
use super::{balance, switch};
use crate::domain::{Domain, Vcpu};

/// Whether the vCPU, which this pCPU runs and which has to stop, may stay: all that it stops for is that it waits, or has waited until a moment ago.
pub(crate) fn may_idle_lazily(vcpu: &Vcpu, domain: &Domain) -> bool {
    !has_to_leave(vcpu, domain, cpu::current())
}

/// Something other than its wait keeps the vCPU from running here.
fn has_to_leave(vcpu: &Vcpu, domain: &Domain, cpu: CpuId) -> bool {
    vcpu.scheduling.preempt.load(Ordering::SeqCst)
        || !vcpu.scheduling.soft_affinity().contains(cpu)
        || !vcpu.is_up()
        || domain.is_paused()
        || domain.is_dying()
        || waiting(cpu) != 0
}

/// Lets this pCPU `wait` until the vCPU, which it runs, no longer waits, or has to leave, or there
/// is other `work`. Returns whether the vCPU resumes; otherwise `must_stop` holds. Its root table
/// must not be loaded. `wait` halts until an interrupt comes, and serves what has come in.
pub(crate) fn idle_lazily(vcpu: &Arc<Vcpu>, domain: &Domain, work: impl Fn() -> bool, wait: impl Fn(CpuId)) -> bool {
    let cpu = cpu::current();
    enter(cpu, vcpu, domain);
    loop {
        set_idle(cpu);
        // SC-2, SC-4: announced in both ways, now a last look.
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
    state.set_virtual_time(virtual_time);
    state.set_place(Place::LazyIdle);
    state.enter(Runstate::Blocked, now);
    drop(queue);
    drop(current);
    domain.scheduling.note_active(false);
}

/// It goes on, or is about to leave: that also if it may run but others want the pCPU, or its domain has reached its cap. It takes its turn like others then.
fn leave(cpu: CpuId, vcpu: &Arc<Vcpu>, domain: &Domain, work: bool) -> bool {
    let (state, now) = (&vcpu.scheduling, time::now());
    domain.scheduling.note_active(true);
    let mut queue = queue(cpu);
    let virtual_time = domain.scheduling.after_sleep(cpu, state.virtual_time(), queue.run.earliest());
    switch::make_current(&mut queue, vcpu, virtual_time, now);
    drop(queue);
    let allowance = domain.scheduling.allowance(now).ok();
    let allowance = allowance.filter(|_| !state.is_blocked() && !work && !has_to_leave(vcpu, domain, cpu));
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

/// Makes the vCPU leave its pCPU if it dozes there, so that its state can be looked at; `false` if it does not.
pub(crate) fn end_lazy_idle(vcpu: &Vcpu) -> bool {
    let is_lazy_idle = vcpu.scheduling.place() == Place::LazyIdle;
    if is_lazy_idle {
        vcpu.scheduling.preempt.store(true, Ordering::SeqCst);
        super::kick(vcpu);
    }
    is_lazy_idle
}
