//! `shadow_op`: the log of the pages that a domain has dirtied, for live migration.

use abi::domctl::{ShadowOp, shadow_mode as mode, shadow_op as operation};
use abi::errno::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use machine::addr::GuestVirt;
use machine::frames::NoMemory;
use machine::frames::dirty_log::{self, DirtyLog, Harvest};
use machine::integers::{saturating_u32, to_usize};
use machine::speculation::MaskedIndex;
use machine::{boot, heap};
use zerocopy::IntoBytes;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::{Copied, Domain, Step, Vcpu};
use crate::scheduler;

/// Frames of the pool for each vCPU, at least.
const FRAMES_PER_VCPU: u32 = 32;
/// log2 of the frames in a MiB.
const MIB_SHIFT: u32 = 8;
/// Bytes of the heap that one step of growing needs.
const GROWTH: usize = 64 << 10;
/// Words that are copied at a time.
const WORDS: usize = 64;
/// Cost of copying them, in units of the budget.
const COST_OF_COPY: u32 = 16;
/// Page numbers beyond a domain's frames that its log can cover, for holes in its memory map.
const MAX_HOLES: u64 = 1 << 20;

/// How far an operation has got.
enum Progress {
    Done(Result<(), Errno>),
    /// The budget is exhausted.
    Preempted(Step),
}

/// Performs an operation on the log of another domain.
pub(super) fn shadow_op(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut argument: ShadowOp = request.argument();
    match argument.operation {
        operation::GET_ALLOCATION => {
            argument.megabytes = pool_frames(target).div_ceil(1 << MIB_SHIFT);
            request.answer(caller, &argument)?;
            return Ok(0);
        }
        operation::SET_ALLOCATION => {
            target.control.set_log_dirty_pool(argument.megabytes);
            return Ok(0);
        }
        _ => {}
    }
    super::other(caller, target)?;
    if target.is_dying() {
        return Ok(0);
    }
    let act = match argument.operation {
        operation::ENABLE_LOGDIRTY => enable,
        operation::ENABLE if argument.mode == mode::LOG_DIRTY => enable,
        operation::CLEAN => clean,
        operation::PEEK => peek,
        operation::OFF => disable,
        // Other kinds of shadow paging.
        _ => return Err(Errno::EINVAL.into()),
    };
    let asked = (caller.domain.id(), argument.operation);
    let step = target.control.log_dirty.enter(asked)?;
    let (result, step) = match act(caller, target, &mut argument, step) {
        Progress::Done(result) => (result.map(|()| 0).map_err(CallError::from), None),
        Progress::Preempted(step) => (Err(CallError::again()), Some(step)),
    };
    target.control.log_dirty.leave(asked, step);
    if result.is_ok() && matches!(argument.operation, operation::CLEAN | operation::PEEK) {
        request.answer(caller, &argument)?;
    }
    result
}

/// The frames that the pool for mirror tables has, or would have.
fn pool_frames(target: &Domain) -> u32 {
    if let Some(state) = dirty_log::state(target.id()) {
        return u32::try_from(state.frames).unwrap_or(u32::MAX);
    }
    let wanted = match target.control.log_dirty_pool() {
        0 => target.frames.len() / 100 * boot::options().log_dirty_pool,
        megabytes => megabytes.saturating_mul(1 << MIB_SHIFT),
    };
    wanted.max(saturating_u32(target.vcpus().len()).saturating_mul(FRAMES_PER_VCPU))
}

/// The page numbers that a log covers: those that the domain may have frames for, and those that it
/// reports.
fn pages(target: &Domain) -> u64 {
    let frames = u64::from(target.max_frames().max(target.frames.len()));
    target.reported_pages().clamp(frames, frames + MAX_HOLES)
}

fn enable(caller: &mut Caller<'_>, target: &Arc<Domain>, _: &mut ShadowOp, step: Option<Step>) -> Progress {
    let (mut log, frames) = match step {
        Some(Step::Growing(log, frames)) => (log, frames),
        Some(Step::Shrinking(log, result)) => return shrink(caller, log, result),
        Some(step) => return find_shared(caller, target, step),
        None if target.vcpus().is_empty() || dirty_log::state(target.id()).is_some() => {
            return Progress::Done(Err(Errno::EINVAL));
        }
        None => (DirtyLog::new(target.id(), pages(target), target.vcpus().len()), pool_frames(target)),
    };
    let grown = if heap::has_room(GROWTH) { log.grow(frames, &mut caller.budget) } else { Err(NoMemory) };
    match grown {
        Err(NoMemory) => return shrink(caller, log, Err(Errno::ENOMEM)),
        Ok(false) => return Progress::Preempted(Step::Growing(log, frames)),
        Ok(true) => {}
    }
    let stopped = Stopped::all_vcpus(target);
    if stopped.is_none() {
        return Progress::Preempted(Step::Growing(log, frames));
    }
    let begun = dirty_log::begin(log);
    drop(stopped);
    match begun {
        Ok(()) => find_shared(caller, target, Step::FindingShared(None)),
        Err(log) => shrink(caller, log, Err(Errno::EINVAL)),
    }
}

/// The last step of enabling a log: finds the pages that others may write already.
fn find_shared(caller: &mut Caller<'_>, target: &Domain, step: Step) -> Progress {
    let Step::FindingShared(mut next) = step else { return Progress::Done(Err(Errno::EINVAL)) };
    if dirty_log::hold_shared(&target.frames, target.id(), &mut next, &mut caller.budget) {
        return Progress::Done(Ok(()));
    }
    Progress::Preempted(Step::FindingShared(next))
}

fn disable(caller: &mut Caller<'_>, target: &Arc<Domain>, _: &mut ShadowOp, step: Option<Step>) -> Progress {
    if let Some(Step::Shrinking(log, result)) = step {
        return shrink(caller, log, result);
    }
    if dirty_log::state(target.id()).is_none() {
        return Progress::Done(Ok(()));
    }
    let Some(_stopped) = Stopped::all_vcpus(target) else { return Progress::Preempted(Step::Stopping) };
    match dirty_log::end(target.id()) {
        Some(log) => shrink(caller, log, Ok(())),
        None => Progress::Done(Ok(())),
    }
}

/// Frees the memory of a log that is not in use, and ends with `result`.
fn shrink(caller: &mut Caller<'_>, mut log: Box<DirtyLog>, result: Result<(), Errno>) -> Progress {
    if log.shrink(&mut caller.budget) {
        return Progress::Done(result);
    }
    Progress::Preempted(Step::Shrinking(log, result))
}

/// Starts a round, and returns the marks of the one before. The domain continues to run: its mirror
/// tables, which permit writes, are discarded before the marks are taken.
fn clean(caller: &mut Caller<'_>, target: &Arc<Domain>, argument: &mut ShadowOp, step: Option<Step>) -> Progress {
    let copied = match step {
        Some(Step::PuttingBack(next, result)) => return put_back(caller, target, argument, next, result),
        Some(Step::Copying(copied)) => copied,
        _ => match dirty_log::start_round(target.id()) {
            Some(faults) => Copied { faults, ..Copied::default() },
            None => return Progress::Done(Err(Errno::EINVAL)),
        },
    };
    match copy(caller, target, argument, Harvest::Take, copied) {
        Copying::Done(copied) => put_back(caller, target, argument, copied.words, Ok(copied)),
        Copying::Preempted(copied) => Progress::Preempted(Step::Copying(copied)),
        Copying::Failed(next) => put_back(caller, target, argument, next, Err(Errno::EFAULT)),
    }
}

/// Returns the marks of the current round.
fn peek(caller: &mut Caller<'_>, target: &Arc<Domain>, argument: &mut ShadowOp, step: Option<Step>) -> Progress {
    let copied = match step {
        Some(Step::Copying(copied)) => copied,
        _ => match dirty_log::state(target.id()) {
            Some(state) => Copied { faults: state.faults, ..Copied::default() },
            None => return Progress::Done(Err(Errno::EINVAL)),
        },
    };
    match copy(caller, target, argument, Harvest::Peek, copied) {
        Copying::Done(copied) => {
            answer(argument, copied);
            Progress::Done(Ok(()))
        }
        Copying::Preempted(copied) => Progress::Preempted(Step::Copying(copied)),
        Copying::Failed(_) => Progress::Done(Err(Errno::EFAULT)),
    }
}

/// How far the marks have been copied.
enum Copying {
    Done(Copied),
    /// The budget is exhausted.
    Preempted(Copied),
    /// The words from this one on have not been handed on.
    Failed(u64),
}

/// Copies marks to the caller, which may not want them but only have them taken.
fn copy(caller: &mut Caller<'_>, target: &Domain, argument: &ShadowOp, how: Harvest, mut copied: Copied) -> Copying {
    let wanted = argument.pages.div_ceil(64);
    // Without an address there is nothing to write beyond the log.
    let covered = dirty_log::state(target.id()).map_or(0, |state| state.pages.div_ceil(64));
    let end = if argument.dirty_bitmap == 0 { wanted.min(covered) } else { wanted };
    let is_last = argument.mode & mode::LOG_DIRTY_FINAL != 0;
    let bitmap = GuestVirt::new(argument.dirty_bitmap);
    while copied.words < end {
        if caller.budget.is_exhausted() {
            return Copying::Preempted(copied);
        }
        caller.budget.spend(COST_OF_COPY);
        let mut buffer = [0; WORDS];
        let count = (end - copied.words).min(WORDS as u64);
        let Some(words) = buffer.part_mut(..to_usize(count)) else { break };
        if !dirty_log::harvest(target.id(), how, is_last, copied.words, words) {
            return Copying::Failed(end);
        }
        // Pages beyond those asked for are put back, and not shown.
        let beyond = (copied.words + count).saturating_mul(64).saturating_sub(argument.pages);
        let shown = u64::MAX >> (beyond & 63);
        if let Some(last) = words.last_mut() {
            if how == Harvest::Take {
                dirty_log::put_back(target.id(), copied.words + count - 1, &[*last & !shown]);
            }
            *last &= shown;
        }
        let bytes = (argument.pages.div_ceil(8) - copied.words * 8).min(count * 8);
        let at = bitmap.offset(copied.words * 8);
        let written = bitmap.get() == 0
            || words.as_bytes().part(..to_usize(bytes)).is_some_and(|bytes| caller.cpu.write_bytes(at, bytes).is_ok());
        if !written {
            if how == Harvest::Take {
                dirty_log::put_back(target.id(), copied.words, words);
            }
            return Copying::Failed(copied.words + count);
        }
        copied.words += count;
        copied.dirty += words.iter().map(|word| word.count_ones()).sum::<u32>();
    }
    Copying::Done(copied)
}

/// Ends a call that took marks: those that it did not hand on are marks of the new round.
fn put_back(
    caller: &mut Caller<'_>,
    target: &Domain,
    argument: &mut ShadowOp,
    mut next: u64,
    result: Result<Copied, Errno>,
) -> Progress {
    if !dirty_log::put_back_rest(target.id(), &mut next, &mut caller.budget) {
        return Progress::Preempted(Step::PuttingBack(next, result));
    }
    Progress::Done(result.map(|copied| answer(argument, copied)))
}

const fn answer(argument: &mut ShadowOp, copied: Copied) {
    argument.fault_count = copied.faults;
    argument.dirty_count = copied.dirty;
}

/// A domain whose vCPUs are all parked, until this is dropped.
struct Stopped<'a>(&'a Domain);

impl<'a> Stopped<'a> {
    /// Stops all vCPUs; `None` if one does not stop soon.
    fn all_vcpus(target: &'a Domain) -> Option<Self> {
        scheduler::pause(target);
        let stopped = Self(target);
        let is_parked = |vcpu: &Arc<Vcpu>| scheduler::wait_until_parked(vcpu);
        target.vcpus().iter().all(is_parked).then_some(stopped)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        scheduler::unpause(self.0);
    }
}
