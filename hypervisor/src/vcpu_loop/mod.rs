//! The main loop of each pCPU: handle pending events, choose a vCPU, run it and put it back, or
//! halt.
//!
//! This is the top layer at run time. It combines the scheduler's decisions with the other work of
//! a pCPU: interrupts, consoles, destruction of domains.

mod housekeeping;
mod vcpu;

use alloc::sync::Arc;

use machine::addr::CpuId;
use machine::cpu;
use machine::frames::{self, Budget};
use machine::time;

use crate::domain::{Domain, Vcpu};
use crate::latency::{self, Phase};
use crate::lifecycle;
use crate::{console, scheduler};

pub(crate) use housekeeping::poll;

/// Runs vCPUs on this pCPU forever.
pub(crate) fn run_cpu() -> ! {
    latency::start(time::now());
    loop {
        let cpu = cpu::current();
        if let Some((vcpu, domain)) = next(cpu) {
            run(&vcpu, &domain);
            scheduler::put_back(cpu, &vcpu, &domain);
        }
    }
}

/// Handles pending events and chooses the vCPU to run. If there is none, halts until an interrupt
/// arrives and returns `None`.
fn next(cpu: CpuId) -> Option<(Arc<Vcpu>, Arc<Domain>)> {
    // The loop may repeat without running a guest or halting, and other pCPUs may be waiting for
    // this one to flush its TLB.
    latency::window();
    poll();
    let mut work = lifecycle::destruction_due();
    if work {
        latency::note(Phase::Destruction);
        lifecycle::advance_destruction(&mut Budget::new(Budget::HYPERCALL));
        latency::window();
        work = lifecycle::destruction_due();
    }
    latency::note(Phase::Switch);
    let chosen = scheduler::take_next(cpu, work);
    if chosen.is_none() {
        // A pCPU that queues a destruction after this check works on it itself.
        if !work {
            halt(cpu);
        }
        scheduler::leave_idle(cpu);
    }
    chosen
}

/// Halts until an interrupt arrives. The caller polls next. If something has been logged since the
/// last poll, this returns at once, because the screen would otherwise not show it before the next
/// interrupt.
fn halt(cpu: CpuId) {
    if !console::has_news() {
        scheduler::halt(cpu);
    }
}

/// Runs one vCPU with its state loaded into this pCPU.
fn run(vcpu: &Arc<Vcpu>, domain: &Arc<Domain>) {
    vcpu.time.start_periodic(vcpu);
    // SC-3: the vCPU was parked when it was chosen. Code that changes its parked state concurrently
    // holds the lock.
    let context = vcpu.parked().take();
    if let Some(context) = context {
        cpu::note_running(Some((domain.id().0, vcpu.id().get())));
        let context = vcpu::run_vcpu(vcpu, domain, context);
        cpu::note_running(None);
        *vcpu.parked() = Some(context);
    }
    vcpu.time.stop_periodic_ticks();
}

/// Whether this pCPU has work other than running vCPUs.
fn has_other_work() -> bool {
    frames::left_tables() || lifecycle::destruction_due()
}

/// Whether the running vCPU, which has to stop, may stay loaded while it waits.
fn may_idle_lazily(vcpu: &Vcpu, domain: &Domain) -> bool {
    scheduler::may_idle_lazily(vcpu, domain) && !has_other_work()
}

/// Halts this pCPU with the vCPU loaded, until the vCPU may run again or has to be unloaded.
fn idle_lazily(vcpu: &Arc<Vcpu>, domain: &Domain) {
    vcpu.time.stop_periodic_ticks();
    let wait = |cpu| {
        halt(cpu);
        scheduler::leave_idle(cpu);
        poll();
    };
    if scheduler::idle_lazily(vcpu, domain, has_other_work, wait) {
        vcpu.time.start_periodic(vcpu);
    }
}

/// Schedules one vCPU, which gives up the pCPU at once.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn turn(cpu: CpuId) {
    if let Some((vcpu, domain)) = scheduler::take_next(cpu, false) {
        scheduler::put_back(cpu, &vcpu, &domain);
    }
    scheduler::leave_idle(cpu);
}

#[cfg(test)]
mod tests;
