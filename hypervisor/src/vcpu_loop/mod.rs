//! The loop of every pCPU: serve what has come in, choose a vCPU, run it, put it back, or halt.
//!
//! This is the top of the hypervisor at run time. The scheduler below decides who runs; here that
//! decision meets what the pCPU has to do besides: interrupts, consoles, the teardown of domains.

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

/// Runs vCPUs on this pCPU for ever.
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

/// Serves what has come in, and chooses the vCPU to run; without one, halts until something comes
/// in.
fn next(cpu: CpuId) -> Option<(Arc<Vcpu>, Arc<Domain>)> {
    // This may go round without a guest or a halt, and others may wait for this pCPU's flush
    // meanwhile.
    latency::window();
    poll();
    let mut work = lifecycle::destruction_due();
    if work {
        latency::note(Phase::Destruction);
        lifecycle::destroy_some(&mut Budget::new(Budget::HYPERCALL));
        latency::window();
        work = lifecycle::destruction_due();
    }
    latency::note(Phase::Switch);
    let chosen = scheduler::take_next(cpu, work);
    if chosen.is_none() {
        // Work that another pCPU leaves from now on is done by that pCPU.
        if !work {
            halt(cpu);
        }
        scheduler::leave_idle(cpu);
    }
    chosen
}

/// Halts until an interrupt comes. The caller polls next, so it does not halt if something was
/// logged since the last poll: the screen would not show it before the interrupt.
fn halt(cpu: CpuId) {
    if !console::has_news() {
        scheduler::halt(cpu);
    }
}

/// Runs one vCPU with its state loaded into this pCPU.
fn run(vcpu: &Arc<Vcpu>, domain: &Arc<Domain>) {
    vcpu.time.start_periodic(vcpu);
    // SC-3: it was parked when it was chosen. Code that changes its state at rest meanwhile holds
    // the lock.
    let context = vcpu.parked().take();
    if let Some(context) = context {
        cpu::note_running(Some((domain.id().0, vcpu.id().get())));
        let context = vcpu::run_vcpu(vcpu, domain, context);
        cpu::note_running(None);
        *vcpu.parked() = Some(context);
    }
    vcpu.time.stop_periodic_ticks();
}

/// Whether this pCPU has something to do besides running vCPUs.
fn has_other_work() -> bool {
    frames::left_tables() || lifecycle::destruction_due()
}

/// Whether the vCPU, which this pCPU runs and which has to stop, may stay loaded while it waits.
fn may_idle_lazily(vcpu: &Vcpu, domain: &Domain) -> bool {
    scheduler::may_idle_lazily(vcpu, domain) && !has_other_work()
}

/// Halts this pCPU, with the vCPU loaded, until the vCPU may run or has to leave.
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

/// Gives the pCPU to one vCPU, which gives it up at once.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn turn(cpu: CpuId) {
    if let Some((vcpu, domain)) = scheduler::take_next(cpu, false) {
        scheduler::put_back(cpu, &vcpu, &domain);
    }
    scheduler::leave_idle(cpu);
}

#[cfg(test)]
mod tests;
