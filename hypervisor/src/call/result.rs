//! The result of a hypercall.

use abi::errno::Errno;
use machine::addr::GuestVirt;
use machine::frames::{AcquireError, Promotion};
use machine::guest_memory::Fault;
use machine::speculation::MaskedIndex;

use crate::domain::KillReason;

/// The value for the guest's RAX, or the reason why there is none.
pub(crate) type CallResult = Result<u64, CallError>;

/// The reason why a hypercall returns no value (yet).
#[derive(Debug)]
pub enum CallError {
    /// The guest gets this error.
    Errno(Errno),
    /// The budget is exhausted. The guest executes the hypercall again.
    Continue(Continuation),
    /// The domain is killed.
    Kill(KillReason),
}

/// The state with which a hypercall is restarted.
#[derive(Debug, Default)]
pub struct Continuation {
    /// New values of the first arguments, which the dispatcher writes. The others are unchanged.
    pub arguments: [Option<u64>; 4],
    /// A pending validation, which is kept until the restart.
    pub promotion: Option<Promotion>,
}

impl CallError {
    /// Restarts the hypercall with the same arguments.
    pub const fn again() -> Self {
        Self::Continue(Continuation { arguments: [None; 4], promotion: None })
    }

    /// Replaces the argument at `index`, counted from zero, if this is a continuation.
    pub fn with_argument(mut self, index: usize, value: u64) -> Self {
        if let Self::Continue(continuation) = &mut self
            && let Some(argument) = continuation.arguments.masked_mut(index)
        {
            *argument = Some(value);
        }
        self
    }

    /// Sets the arguments of a list of `T` to its rest, if this is a continuation: `done` of its
    /// `count` elements have been processed. The argument at `index` is the list's address, and the
    /// next one is the count combined with `flags`.
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
