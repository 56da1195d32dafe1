//! What a hypercall comes to.

use alloc::string::String;

use abi::errno::Errno;
use machine::frames::{AcquireError, Promotion};
use machine::guest_memory::Fault;

/// A value for the guest's RAX, or why there is none.
pub(crate) type CallResult = Result<u64, CallError>;

/// Why a hypercall has no value for the guest (yet).
#[derive(Debug)]
pub enum CallError {
    /// The guest gets this error.
    Errno(Errno),
    /// The budget is used up. The guest executes the hypercall again with these arguments (the dispatcher writes them) after
    /// whatever else had to be done; a validation under way is kept until then.
    Continue {
        /// The first arguments of the repeated call; the others stay as they are.
        arguments: [Option<u64>; 4],
        /// Tables that are partly validated.
        promotion: Option<Promotion>,
    },
    /// The guest did what ends it.
    Kill(String),
}

impl CallError {
    /// The same hypercall again with the same arguments.
    pub const fn again() -> Self {
        Self::Continue { arguments: [None; 4], promotion: None }
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
            AcquireError::Preempted(promotion) => Self::Continue { arguments: [None; 4], promotion: Some(promotion) },
        }
    }
}
