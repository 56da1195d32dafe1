//! A domain's operation on its log of dirty pages (`shadow_op`), which may be preempted.

use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::boxed::Box;
use machine::addr::Mfn;
use machine::frames::Budget;
use machine::frames::dirty_log::{self, DirtyLog};
use machine::sync::{Level, SpinLock};

/// What a preempted operation does next.
pub(crate) enum Step {
    /// Adds memory to a log until its pool has this many frames.
    Growing(Box<DirtyLog>, u32),
    /// Waits until the domain's vCPUs have stopped.
    Stopping,
    /// Looks for frames that others may write, from this one on.
    FindingShared(Option<Mfn>),
    /// Copies the marks of the round that has ended.
    Copying(Copied),
    /// Returns marks that are not asked for, from this word on, and then ends with a result.
    PuttingBack(u64, Result<Copied, Errno>),
    /// Frees the memory of a log, and then ends with a result.
    Shrinking(Box<DirtyLog>, Result<(), Errno>),
}

/// The part of the marks that has been copied, and counts for the caller.
#[derive(Clone, Copy, Default)]
pub(crate) struct Copied {
    /// Words of 64 pages.
    pub words: u64,
    /// Marks in them.
    pub dirty: u32,
    /// Faults in the round that has ended.
    pub faults: u32,
}

/// An operation that has begun: the domain that asked for it, and its number.
type Asked = (DomainId, u32);

enum State {
    Idle,
    /// A pCPU works on an operation.
    InWork,
    /// An operation was preempted. Its caller asks again.
    Preempted(Asked, Step),
    /// The domain is being destroyed.
    Closed,
}

/// The operation on one domain's log.
pub(crate) struct LogDirtyOperation {
    state: SpinLock<State>,
}

impl LogDirtyOperation {
    pub(super) const fn new() -> Self {
        Self { state: SpinLock::new(Level::DomainRecord, State::Idle) }
    }

    /// Begins an operation, or continues it: returns the next step if it was preempted. The caller
    /// calls [`Self::leave`] afterwards.
    ///
    /// # Errors
    /// `EBUSY` if another operation is unfinished.
    pub(crate) fn enter(&self, asked: Asked) -> Result<Option<Step>, Errno> {
        let mut state = self.state.lock();
        match core::mem::replace(&mut *state, State::InWork) {
            State::Idle => Ok(None),
            State::Preempted(by, step) if by == asked => Ok(Some(step)),
            other => {
                *state = other;
                Err(Errno::EBUSY)
            }
        }
    }

    /// Ends the work on an operation that was entered. With a step, it is not finished.
    pub(crate) fn leave(&self, asked: Asked, step: Option<Step>) {
        *self.state.lock() = step.map_or(State::Idle, |step| State::Preempted(asked, step));
    }

    /// Ends the log of a domain that is being destroyed, and whose vCPUs are gone. Returns `false`
    /// if the budget is exhausted, or if another pCPU works on an operation.
    pub(crate) fn close(&self, domain: DomainId, budget: &mut Budget) -> bool {
        let mut state = self.state.lock();
        let log = match core::mem::replace(&mut *state, State::Closed) {
            State::InWork => {
                *state = State::InWork;
                return false;
            }
            State::Preempted(_, Step::Growing(log, _) | Step::Shrinking(log, _)) => Some(log),
            State::Idle | State::Closed | State::Preempted(..) => dirty_log::end(domain),
        };
        drop(state);
        let Some(mut log) = log else { return true };
        let done = log.shrink(budget);
        if !done {
            *self.state.lock() = State::Preempted((domain, 0), Step::Shrinking(log, Ok(())));
        }
        done
    }
}
