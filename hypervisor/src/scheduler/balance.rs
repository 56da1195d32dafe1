//! Moving waiting vCPUs between pCPUs, so that none is idle while vCPUs wait, and all get what their weight entitles them to.

use alloc::sync::Arc;

use machine::addr::CpuId;
use machine::time;

use super::cpu::{online, queue, waiting};
use super::wake;
use crate::domain::Vcpu;

/// How far a queue may fall behind another before it hands a vCPU over, in virtual time.
const TOLERANCE: u64 = 20_000_000;
/// Differences beyond this are forgotten: they come from affinities or from times of idleness, and nobody is owed them.
const MEMORY: u64 = 100_000_000;

/// Takes a vCPU that waits elsewhere and may run on this pCPU into this one's queue; `false` if there is none.
pub(super) fn steal(cpu: CpuId) -> bool {
    let mut tried = machine::addr::CpuSet::EMPTY;
    tried.insert(cpu);
    // The longest queue first; what the counts say may be out of date, so all are tried.
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
    let taken = queue.run.take(|vcpu| vcpu.scheduling.affinity().contains(to));
    queue.publish(from);
    taken
}

/// Hands a vCPU of this pCPU, whose slice has ended, over to the pCPU whose vCPUs get most, if that is much more than those here
/// get. It is the one that has had most of late: those that stay will get more than it.
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

/// The pCPU whose queue has come furthest, if that is much further than `mine`, that of `cpu`.
fn furthest_ahead(cpu: CpuId, mine: u64) -> Option<(u64, CpuId)> {
    let mut best: Option<(u64, CpuId)> = None;
    for other in online().iter().filter(|other| *other != cpu) {
        let mut queue = queue(other);
        // Nobody there: it takes what it wants by itself.
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
