//! Moves waiting vCPUs between pCPUs, so that no pCPU is idle while vCPUs wait, and each vCPU gets
//! its share by weight.

use alloc::sync::Arc;

use machine::addr::CpuId;
use machine::time;

use super::cpu::{online, queue, waiting};
use super::{cores, wake};
use crate::domain::Vcpu;

/// How far a queue's progress may be below another's before it hands over a vCPU, in virtual time.
const TOLERANCE: u64 = 20_000_000;
/// Differences beyond this are ignored. They result from affinities or idle times, for which no
/// vCPU is compensated.
const MEMORY: u64 = 100_000_000;

/// Moves a vCPU that may run on this pCPU from another queue to this one's. Returns `false` if
/// there is none.
pub(super) fn steal(cpu: CpuId) -> bool {
    let mut tried = machine::addr::CpuSet::EMPTY;
    tried.insert(cpu);
    // Start with the longest queue. The counts may be out of date, so all queues are tried.
    while let Some(other) = online()
        .iter()
        .filter(|other| !tried.contains(*other) && waiting(*other) != 0)
        .max_by_key(|other| waiting(*other))
    {
        tried.insert(other);
        if let Some((vcpu, lag)) = take(other, cpu) {
            let mut queue = queue(cpu);
            vcpu.scheduling.set_home(cpu);
            queue.run.admit(lag, vcpu);
            queue.publish(cpu);
            return true;
        }
    }
    false
}

fn take(from: CpuId, to: CpuId) -> Option<(Arc<Vcpu>, i64)> {
    let mut queue = queue(from);
    let taken = queue.run.take(|vcpu| vcpu.scheduling.affinity().contains(to) && cores::may_steal(to, vcpu));
    queue.publish(from);
    taken
}

/// Hands a vCPU over to the pCPU with the greatest progress, if that is much greater than this
/// pCPU's. Called at the end of a slice. The vCPU with the most recent CPU time is chosen, since
/// those that stay will then get more.
pub(super) fn push(cpu: CpuId) {
    let mine = queue(cpu).run.progress();
    let Some((progress, target)) = furthest_ahead(cpu, mine) else { return };
    let mut queue = queue(cpu);
    queue.run.raise_progress(progress.saturating_sub(MEMORY));
    let rank = |vcpu: &Arc<Vcpu>| vcpu.scheduling.affinity().contains(target).then(|| vcpu.scheduling.usage());
    let most = queue.run.iter().filter_map(rank).max();
    if let Some(current) = &queue.current
        && rank(current) > most
    {
        current.scheduling.set_destination(target);
        return;
    }
    let taken = queue.run.take_highest(rank);
    queue.publish(cpu);
    drop(queue);
    if let Some((vcpu, lag)) = taken {
        wake::send(&vcpu, lag, target, time::now());
    }
}

/// The pCPU whose queue has the greatest progress, if that is well above `mine`, the progress of
/// `cpu`.
fn furthest_ahead(cpu: CpuId, mine: u64) -> Option<(u64, CpuId)> {
    let mut best: Option<(u64, CpuId)> = None;
    for other in online().iter().filter(|other| *other != cpu) {
        let mut queue = queue(other);
        // An idle pCPU steals by itself.
        if queue.current.is_none() {
            continue;
        }
        queue.run.charge(time::now());
        queue.run.raise_progress(mine.saturating_sub(MEMORY));
        let progress = queue.run.progress();
        if progress > mine + TOLERANCE && best.is_none_or(|(most, _)| progress > most) {
            best = Some((progress, other));
        }
    }
    best
}
