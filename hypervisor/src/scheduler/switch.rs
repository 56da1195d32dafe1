//! Switching the vCPU of a pCPU: choosing the next one, its slice, and putting it back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use machine::addr::{CpuId, CpuSet};
use machine::{cpu, time};

use super::cpu::{Queue, both, either, idle_cpus, leave_idle, queue, set_idle};
use super::queue::RunQueue;
use super::runstate::Runstate;
use super::share::SLICE;
use super::state::{Place, may_run, why_not};
use super::{balance, cores, wake};
use crate::domain::{Domain, Vcpu};
use crate::{latency, timers};

/// Slice of a vCPU while its pCPU also has work on domains that have ended, in nanoseconds.
const WORK_SLICE: u64 = 1_000_000;

/// Chooses the vCPU that this pCPU runs next. Its place is then `Running`, and [`put_back`] must
/// follow. If there is none, the pCPU is marked as idle until [`leave_idle`]. If the pCPU has
/// other `work`, the slice is short.
pub(crate) fn take_next(cpu: CpuId, work: bool) -> Option<(Arc<Vcpu>, Arc<Domain>)> {
    let chosen = pick(cpu, work).or_else(|| {
        set_idle(cpu);
        // SC-4: it is marked as idle, so this is the last check.
        pick(cpu, work)
    });
    if chosen.is_some() {
        leave_idle(cpu);
    } else if cores::is_forced_idle(cpu) {
        let welcome = welcome(&queue(cpu));
        welcome.into_iter().for_each(cpu::kick);
    }
    chosen
}

/// Chooses the next vCPU and sets its place to `Running`.
fn pick(cpu: CpuId, work: bool) -> Option<(Arc<Vcpu>, Arc<Domain>)> {
    loop {
        let Some((vcpu, now)) = take_first(cpu) else {
            balance::steal(cpu).then_some(())?;
            continue;
        };
        // The domain has been freed, so the vCPU is never run again.
        let Some(domain) = vcpu.domain() else {
            let mut queue = queue(cpu);
            queue.run.stop();
            vcpu.scheduling.set_place(Place::Off);
            let current = queue.current.take();
            cores::leave(cpu, true);
            drop(queue);
            drop(current);
            continue;
        };
        if !may_run(&vcpu, &domain) || !vcpu.scheduling.affinity().contains(cpu) {
            put_back(cpu, &vcpu, &domain);
            continue;
        }
        match domain.scheduling.allowance(now) {
            Ok(allowance) => {
                begin(cpu, &vcpu, &domain, now, allowance, work);
                return Some((vcpu, domain));
            }
            Err(until) => set_aside(cpu, &vcpu, until),
        }
    }
}

/// Makes the first vCPU of the queue that its core admits the current one. Returns it and the time.
fn take_first(cpu: CpuId) -> Option<(Arc<Vcpu>, u64)> {
    let mut queue = queue(cpu);
    let (vcpu, virtual_time, passed_over) = cores::choose(cpu, &mut queue.run)?;
    queue.publish(cpu);
    vcpu.scheduling.preempt.store(false, Ordering::SeqCst);
    let now = time::now();
    make_current(&mut queue, &vcpu, virtual_time, now);
    queue.passed_over = passed_over;
    Some((vcpu, now))
}

/// Assigns the pCPU to the vCPU. Whether it runs is decided next.
pub(super) fn make_current(queue: &mut Queue, vcpu: &Arc<Vcpu>, virtual_time: u64, now: u64) {
    vcpu.scheduling.set_place(Place::Running);
    queue.run.start(virtual_time, super::queue::USUAL_WEIGHT, now);
    queue.slice_start = now;
    queue.passed_over = false;
    queue.current = Some(Arc::clone(vcpu));
}

/// Starts the slice of the current vCPU.
pub(super) fn begin(cpu: CpuId, vcpu: &Vcpu, domain: &Domain, now: u64, allowance: u64, work: bool) {
    let mut queue = queue(cpu);
    let virtual_time = queue.run.stop();
    queue.run.start(virtual_time, domain.scheduling.vcpu_weight(), now);
    queue.slice_start = now;
    let waiting = queue.run.waiting() != 0;
    let others = waiting && queue.run.iter().any(|waiting| !waiting.belongs_to(domain));
    queue.slice = if others { domain.scheduling.slice() } else { SLICE };
    let slice = match (work, waiting) {
        (true, _) => WORK_SLICE,
        (false, true) => queue.slice,
        (false, false) => u64::MAX,
    };
    queue.slice_end = now.saturating_add(slice.min(allowance)).min(cores::turn_end(cpu));
    set_deadline(&queue);
    let welcome = welcome(&queue);
    drop(queue);
    vcpu.scheduling.enter(Runstate::Running, now);
    latency::note_wait(domain, vcpu, vcpu.scheduling.ready_since(), now);
    if let Some(idle) = welcome {
        cpu::kick(idle);
    }
}

/// An idle pCPU that may be able to run a vCPU that waits in the queue.
#[inline]
fn welcome(queue: &Queue) -> Option<CpuId> {
    let idle = idle_cpus();
    if idle.is_empty() {
        return None;
    }
    let suits = |waiting: &Arc<Vcpu>| cores::open_to(both(waiting.scheduling.affinity(), idle), waiting);
    queue.run.iter().fold(CpuSet::EMPTY, |all, waiting| either(all, suits(waiting))).iter().next()
}

/// Sets the current vCPU aside until `until`, since its domain has reached its cap.
fn set_aside(cpu: CpuId, vcpu: &Arc<Vcpu>, until: u64) {
    let mut queue = queue(cpu);
    vcpu.scheduling.set_virtual_time(queue.run.stop());
    vcpu.scheduling.set_place(Place::Queued);
    queue.current = None;
    cores::leave(cpu, true);
    queue.aside.push((until, Arc::clone(vcpu)));
    set_deadline(&queue);
}

fn set_deadline(queue: &Queue) {
    let aside = queue.aside.iter().map(|(until, _)| *until).min().unwrap_or(u64::MAX);
    timers::set_scheduler_deadline(queue.slice_end.min(aside));
}

/// Accounts for the time that the current vCPU has run until `now`.
pub(super) fn account(queue: &mut RunQueue<Arc<Vcpu>>, vcpu: &Vcpu, domain: &Domain, now: u64) {
    queue.charge(now);
    let (time, virtual_time) = queue.bill();
    domain.scheduling.bill(time);
    domain.scheduling.note_run(vcpu.scheduling.home(), time, virtual_time);
    vcpu.scheduling.note_usage(time, domain.scheduling.vcpu_weight(), now);
}

/// Takes the pCPU from the current vCPU: accounts for its time, without changing its place. Returns
/// its virtual time and the queue's reference to it, which must be dropped without the lock.
pub(super) fn vacate(queue: &mut Queue, vcpu: &Vcpu, domain: &Domain, now: u64) -> (u64, Option<Arc<Vcpu>>) {
    account(&mut queue.run, vcpu, domain, now);
    queue.slice_end = u64::MAX;
    (queue.run.stop(), queue.current.take())
}

/// Takes the current vCPU off its pCPU. It is queued if it is runnable, otherwise off.
pub(crate) fn put_back(cpu: CpuId, vcpu: &Arc<Vcpu>, domain: &Domain) {
    let (state, now) = (&vcpu.scheduling, time::now());
    let mut queue = queue(cpu);
    let (mut virtual_time, current) = vacate(&mut queue, vcpu, domain, now);
    cores::leave(cpu, true);
    let destination = state.take_destination().filter(|_| queue.run.waiting() != 0);
    if state.yielding.swap(false, Ordering::SeqCst) {
        virtual_time = queue.run.after_first(virtual_time, SLICE);
    }
    state.set_virtual_time(virtual_time);
    // SC-2: set to off first, then checked.
    state.set_place(Place::Off);
    let mut elsewhere = None;
    if may_run(vcpu, domain) {
        state.set_place(Place::Queued);
        state.enter(Runstate::Runnable, now);
        state.note_ready(now);
        if destination.is_none() && state.affinity().contains(cpu) {
            queue.run.put_back(virtual_time, Arc::clone(vcpu));
            queue.publish(cpu);
        } else {
            elsewhere = Some(queue.run.lag(virtual_time));
        }
    } else {
        state.enter(why_not(vcpu), now);
        domain.scheduling.note_active(false);
    }
    drop(queue);
    drop(current);
    if let Some(lag) = elsewhere {
        match destination {
            Some(target) => wake::send(vcpu, lag, target, now),
            None => wake::dispatch(vcpu, lag, now),
        }
    }
}

/// Makes a pCPU whose queue has changed check it, or sets an end to its slice.
pub(super) fn look(target: CpuId) {
    if target == cpu::current() {
        arrange_slice(target);
    } else {
        cpu::kick(target);
    }
}

/// Sets an end to the current slice if other vCPUs wait, or another group waits for the core.
pub(crate) fn arrange_slice(cpu: CpuId) {
    let mut queue = queue(cpu);
    let (waits, turn_end) = (queue.run.waiting() != 0, cores::turn_end(cpu));
    if queue.current.is_some() && (waits || turn_end != u64::MAX) {
        let end = if waits { queue.takeover().unwrap_or(queue.slice_start + queue.slice) } else { turn_end };
        let end = end.min(turn_end);
        if end < queue.slice_end {
            queue.slice_end = end;
            set_deadline(&queue);
        }
    }
}

/// Handles the scheduler's timer: ends the slice, and queues vCPUs whose domains may run again
/// within their caps. If there is other `work` for the pCPU, its vCPU stops in any case.
pub(crate) fn deadline(cpu: CpuId, work: bool) {
    let now = time::now();
    let mut queue = queue(cpu);
    queue.run.charge(now);
    let mut due = Vec::new();
    if !queue.aside.is_empty() {
        due = queue.aside.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, vcpu) in &due {
            let lag = queue.run.lag(vcpu.scheduling.virtual_time());
            vcpu.scheduling.note_ready(now);
            queue.run.admit(lag, Arc::clone(vcpu));
        }
        queue.publish(cpu);
    }
    let over = queue.slice_end <= now;
    if over {
        queue.slice_end = u64::MAX;
    }
    if (over || work || queue.takeover().is_some_and(|when| when <= now))
        && let Some(current) = &queue.current
    {
        current.scheduling.preempt.store(true, Ordering::SeqCst);
        current.scheduling.attention.store(true, Ordering::SeqCst);
    }
    set_deadline(&queue);
    let crowded = queue.run.waiting() != 0;
    drop(queue);
    drop(due);
    if over && crowded {
        balance::push(cpu);
    } else if crowded || cores::turn_end(cpu) != u64::MAX {
        arrange_slice(cpu);
    }
}

/// Whether the current vCPU has to leave its pCPU: it is no longer runnable, or another vCPU is
/// due.
pub(crate) fn must_stop(vcpu: &Vcpu) -> bool {
    let state = &vcpu.scheduling;
    // Cleared before the check, so that later changes are seen by the next call.
    if !state.attention.load(Ordering::Relaxed) || !state.attention.swap(false, Ordering::SeqCst) {
        return false;
    }
    let stop = state.preempt.load(Ordering::SeqCst) || !vcpu.domain().is_some_and(|domain| may_run(vcpu, &domain));
    if stop {
        // The flag stays set until the vCPU has been put back.
        state.attention.store(true, Ordering::SeqCst);
    }
    stop
}

/// Updates the runstate of the current vCPU, which is about to leave its pCPU.
pub(crate) fn note_leaving(vcpu: &Vcpu) {
    let may = vcpu.domain().is_some_and(|domain| may_run(vcpu, &domain));
    vcpu.scheduling.enter(if may { Runstate::Runnable } else { why_not(vcpu) }, time::now());
}

/// Lets the next vCPU in the queue run before the current one resumes.
pub(crate) fn yield_now(vcpu: &Vcpu) {
    let state = &vcpu.scheduling;
    if super::cpu::waiting(cpu::current()) != 0 {
        state.yielding.store(true, Ordering::SeqCst);
        state.preempt.store(true, Ordering::SeqCst);
        state.attention.store(true, Ordering::SeqCst);
    }
}
