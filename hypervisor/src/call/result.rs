//! What a hypercall comes to.

use abi::errno::Errno;
use machine::addr::GuestVirt;
use machine::frames::{AcquireError, Promotion};
use machine::guest_memory::Fault;

use crate::domain::KillReason;

/// A value for the guest's RAX, or why there is none.
pub(crate) type CallResult = Result<u64, CallError>;

/// Why a hypercall has no value for the guest (yet).
#[derive(Debug)]
pub enum CallError {
    /// The guest gets this error.
    Errno(Errno),
    /// The budget is used up: the guest executes the hypercall again, after the work that had to be
    /// done in between.
    Continue(Continuation),
    /// The guest did what ends it.
    Kill(KillReason),
}

/// How a hypercall is executed again.
#[derive(Debug, Default)]
pub struct Continuation {
    /// New values of the first arguments, which the dispatcher writes; the others stay as they are.
    pub arguments: [Option<u64>; 4],
    /// A validation under way, which is kept until then.
    pub promotion: Option<Promotion>,
}

impl CallError {
    /// The same hypercall again with the same arguments.
    pub const fn again() -> Self {
        Self::Continue(Continuation { arguments: [None; 4], promotion: None })
    }

    /// If this is a continuation: with a new value of the argument at `index`, counted from zero.
    pub fn with_argument(mut self, index: usize, value: u64) -> Self {
        if let Self::Continue(continuation) = &mut self
            && let Some(argument) = continuation.arguments.get_mut(index)
        {
            *argument = Some(value);
        }
        self
    }

    /// If this is a continuation: of a call on a list of `T`, of whose `count` elements `done` are
    /// done. The list's address is the argument at `index`; the next one is the count, with `flags`.
    pub fn with_rest<T>(self, index: usize, list: GuestVirt, count: u32, done: u32, flags: u32) -> Self {
        let rest = list.offset(u64::from(done) * size_of::<T>() as u64);
        self.with_argument(index, rest.get()).with_argument(index + 1, u64::from(count.saturating_sub(done) | flags))
    }
}

impl From<Errno> for CallError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        Self::Errno(fault.into())
    }
}

impl From<AcquireError> for CallError {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Conflict => Self::Errno(Errno::EINVAL),
            AcquireError::Refused(errno) => Self::Errno(errno),
            AcquireError::Preempted(promotion) => {
                Self::Continue(Continuation { promotion: Some(promotion), ..Continuation::default() })
            }
        }
    }
}
