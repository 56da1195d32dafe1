//! Waking vCPUs and sending them to a pCPU, and blocking them.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::addr::{CpuId, CpuSet};
use machine::{cpu, time};

use super::cpu::{Queue, both, home_queue, idle_cpus, leave_idle, online, queue, take_idle, waiting};
use super::runstate::Runstate;
use super::state::{Place, may_run};
use super::switch::account;
use super::{cores, poll, switch};
use crate::domain::{Domain, Vcpu};

/// Ends the vCPU's wait for an event, if any. Sends it to a pCPU if it is runnable, or makes it
/// check for pending work if it is running.
pub(crate) fn wake(vcpu: &Arc<Vcpu>) {
    let Some(domain) = vcpu.domain() else { return };
    poll::stop_polling(vcpu, &domain);
    vcpu.scheduling.blocked.store(false, Ordering::SeqCst);
    enqueue(vcpu, &domain);
}

/// Sets the vCPU's upcall pending, and wakes it if necessary.
pub(crate) fn notify(vcpu: &Arc<Vcpu>) {
    if vcpu.info().raise_upcall() {
        wake(vcpu);
    }
}

/// Sends the vCPU to a pCPU if it is runnable: it has come up, or its domain is no longer paused.
pub(crate) fn resume(vcpu: &Arc<Vcpu>) {
    if let Some(domain) = vcpu.domain() {
        enqueue(vcpu, &domain);
    }
}

fn enqueue(vcpu: &Arc<Vcpu>, domain: &Domain) {
    let state = &vcpu.scheduling;
    // SC-2: code that takes it off its pCPU checks afterwards whether it is runnable.
    match state.place() {
        Place::Off => {}
        Place::Queued => return,
        Place::Running => return kick(vcpu),
        Place::LazyIdle => {
            // No other vCPU may be sent there.
            leave_idle(state.home());
            return kick(vcpu);
        }
    }
    let (home, mut queue) = home_queue(vcpu);
    if state.place() != Place::Off || !may_run(vcpu, domain) {
        return;
    }
    let now = time::now();
    let Queue { run, current, .. } = &mut *queue;
    // The clock dates from the last change of the queue, so it is updated before the lag is
    // computed.
    run.charge(now);
    if let Some(current) = current.as_ref().filter(|current| current.belongs_to(domain)) {
        account(run, current, domain, now);
    }
    let resumes = domain.scheduling.after_sleep(home, state.virtual_time(), queue.run.earliest());
    let lag = queue.run.lag(resumes);
    state.set_place(Place::Queued);
    state.enter(Runstate::Runnable, now);
    state.note_ready(now);
    domain.scheduling.note_active(true);
    drop(queue);
    dispatch(vcpu, lag, now);
}

/// Sends a vCPU whose place is `Queued`, but which is in no queue, to a queue.
pub(super) fn dispatch(vcpu: &Arc<Vcpu>, lag: i64, now: u64) {
    let state = &vcpu.scheduling;
    let (allowed, home) = (both(state.affinity(), online()), state.home());
    let best = match both(allowed, state.soft_affinity()) {
        CpuSet::EMPTY => allowed,
        best => best,
    };
    if let Some(cpu) = take_idle(best, home, vcpu).or_else(|| take_idle(allowed, home, vcpu)) {
        place(vcpu, lag, cpu, now);
        cpu::kick(cpu);
        return;
    }
    let target = if best.contains(home) { Some(home) } else { best.iter().min_by_key(|cpu| waiting(*cpu)) };
    // An affinity without an online pCPU is refused when it is set.
    send(vcpu, lag, target.unwrap_or(CpuId::BOOT), now);
    offer(vcpu, allowed);
}

/// Sends a vCPU whose place is `Queued`, but which is in no queue, to the queue of `target`.
pub(super) fn send(vcpu: &Arc<Vcpu>, lag: i64, target: CpuId, now: u64) {
    match place(vcpu, lag, target, now) {
        Effect::Runs | Effect::EndsSlice => switch::look(target),
        Effect::Waits => {}
    }
}

/// Kicks a pCPU that may have become idle in the meantime (SC-4).
fn offer(vcpu: &Vcpu, allowed: CpuSet) {
    if let Some(cpu) = cores::best_idle(idle_cpus(), allowed, vcpu).iter().next() {
        cpu::kick(cpu);
    }
}

/// The effect on a pCPU of a vCPU that is added to its queue.
enum Effect {
    /// It preempts the running vCPU.
    Runs,
    /// It is the first to wait, or will preempt soon: the running vCPU's slice now has an end.
    EndsSlice,
    /// It waits with others.
    Waits,
}

fn place(vcpu: &Arc<Vcpu>, lag: i64, target: CpuId, now: u64) -> Effect {
    let mut queue = queue(target);
    vcpu.scheduling.set_home(target);
    queue.run.charge(now);
    queue.run.admit(lag, Arc::clone(vcpu));
    queue.publish(target);
    let takeover = queue.takeover();
    if takeover.is_some_and(|when| when <= now) {
        if let Some(current) = &queue.current {
            current.scheduling.preempt.store(true, Ordering::SeqCst);
            current.scheduling.attention.store(true, Ordering::SeqCst);
        }
        Effect::Runs
    } else if takeover.is_some() || queue.run.waiting() == 1 {
        Effect::EndsSlice
    } else {
        Effect::Waits
    }
}

/// Blocks the current vCPU until an event, unless one is pending.
pub(crate) fn block(vcpu: &Arc<Vcpu>) {
    let state = &vcpu.scheduling;
    state.blocked.store(true, Ordering::SeqCst);
    state.attention.store(true, Ordering::SeqCst);
    // SC-2: code that raises an event sets it pending before it unblocks the vCPU.
    if event_due(vcpu) {
        wake(vcpu);
    }
}

fn event_due(vcpu: &Vcpu) -> bool {
    vcpu.event_is_deliverable() || vcpu.nmi_pending.load(Ordering::SeqCst)
}

/// The pCPU that runs the vCPU, if any. A pCPU that is about to run it is included. A pCPU on which
/// it is lazily idle has none of its memory cached (TC-2).
pub(crate) fn running_on(vcpu: &Vcpu) -> Option<CpuId> {
    let state = &vcpu.scheduling;
    state.is_running().then(|| state.home())
}

/// Makes the vCPU check for pending work if it is running or lazily idle: to stop, to resume, or to
/// deliver an event. Called after the condition has been set.
pub(crate) fn kick(vcpu: &Vcpu) {
    let state = &vcpu.scheduling;
    state.attention.store(true, Ordering::SeqCst);
    if state.has_cpu() && state.home() != cpu::current() {
        cpu::kick(state.home());
    }
}
