//! The hypercall `grant_table_op`, with one file per sub-operation or small group of them.

mod batch;
mod cache_flush;
mod copy;
mod map;
mod setup;
mod swap;
mod transfer;
mod unmap;
mod version;

use abi::errno::Errno;
use abi::grant_table::{op, status};
use machine::addr::GuestVirt;
use machine::frames::AcquireError;

use super::table::Status;
use crate::call::{CallError, CallResult, Caller, operations};

/// Performs a `grant_table_op` on `count` elements at `array`. Each element gets a status.
///
/// # Errors
/// `EINVAL` for an invalid count, `EFAULT` if an element cannot be read or written. The elements
/// before it have been performed.
pub(crate) fn grant_table_op(caller: &mut Caller<'_>, command: u32, array: GuestVirt, count: u32) -> CallResult {
    if i32::try_from(count).is_err() {
        return Err(Errno::EINVAL.into());
    }
    perform(caller, cache_flush::operation_of(command), command, array, count)
}

operations! {
    /// Performs an operation. In a cache flush, `command` contains the progress in addition to the
    /// number.
    fn perform(caller: &mut Caller<'_>, operation: u32, command: u32, array: GuestVirt, count: u32) -> CallResult;
    names: op::NAMES;
    op::MAP_GRANT_REF => batch::each(caller, array, count, map::map);
    op::UNMAP_GRANT_REF => unmap::unmap(caller, array, count);
    op::UNMAP_AND_REPLACE => unmap::unmap_and_replace(caller, array, count);
    op::SETUP_TABLE => setup::setup_table(caller, array, count);
    op::TRANSFER => batch::each(caller, array, count, transfer::transfer);
    op::COPY => batch::each(caller, array, count, copy::copy);
    op::QUERY_SIZE => setup::query_size(caller, array, count);
    op::SET_VERSION => version::set_version(caller, array);
    op::GET_STATUS_FRAMES => version::get_status_frames(caller, array, count);
    op::GET_VERSION => version::get_version(caller, array);
    op::SWAP_GRANT_REF => batch::each(caller, array, count, swap::swap);
    op::CACHE_FLUSH => cache_flush::cache_flush(caller, command, array, count);
    // Xen defines the number but does not implement the operation.
    op::DUMP_TABLE: Refused => Errno::ENOSYS;
}

/// The reason why an element was not performed.
enum Failure {
    /// The element gets this status.
    Status(Status),
    /// The call ends with this error.
    Call(CallError),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Preempted(_) => Self::Call(error.into()),
            AcquireError::Conflict | AcquireError::Refused(_) => Self::Status(status::GENERAL_ERROR),
        }
    }
}

/// Converts an element's outcome to its status, unless it ends the call.
fn status_of(outcome: Result<(), Failure>) -> Result<Status, CallError> {
    match outcome {
        Ok(()) => Ok(status::OKAY),
        Err(Failure::Status(status)) => Ok(status),
        Err(Failure::Call(error)) => Err(error),
    }
}
