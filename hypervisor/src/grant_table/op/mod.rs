//! The hypercall `grant_table_op`, one file for each sub-operation or small group of them.

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
use crate::call::{CallError, CallResult, Caller};

/// `grant_table_op`: does `command` to `count` elements at `array`. A status in each element tells what became of it.
///
/// # Errors `EINVAL` for an impossible count, `ENOSYS` for an unknown command, `EFAULT` if an element cannot be read or
/// written: those before it are done.
pub(crate) fn grant_table_op(caller: &mut Caller<'_>, command: u32, array: GuestVirt, count: u32) -> CallResult {
    if i32::try_from(count).is_err() {
        return Err(Errno::EINVAL.into());
    }
    match command {
        op::MAP_GRANT_REF => batch::each(caller, array, count, map::map),
        op::UNMAP_GRANT_REF => unmap::unmap(caller, array, count),
        op::UNMAP_AND_REPLACE => unmap::unmap_and_replace(caller, array, count),
        op::SETUP_TABLE => setup::setup_table(caller, array, count),
        op::TRANSFER => batch::each(caller, array, count, transfer::transfer),
        op::COPY => batch::each(caller, array, count, copy::copy),
        op::QUERY_SIZE => setup::query_size(caller, array, count),
        op::SET_VERSION => version::set_version(caller, array),
        op::GET_STATUS_FRAMES => version::get_status_frames(caller, array, count),
        op::GET_VERSION => version::get_version(caller, array),
        op::SWAP_GRANT_REF => batch::each(caller, array, count, swap::swap),
        _ if cache_flush::is_meant(command) => cache_flush::cache_flush(caller, command, array, count),
        // Xen has a number for `dump_table` and nothing behind it.
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Why an element was not done.
enum Failure {
    /// It gets this status.
    Status(Status),
    /// The whole call ends so.
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

/// Turns an element's outcome into its status, unless the call ends with it.
fn status_of(outcome: Result<(), Failure>) -> Result<Status, CallError> {
    match outcome {
        Ok(()) => Ok(status::OKAY),
        Err(Failure::Status(status)) => Ok(status),
        Err(Failure::Call(error)) => Err(error),
    }
}
