//! `memory_op`: queries and changes of a domain's memory. Each group of operations has its own
//! file.

pub(crate) mod control;
pub(crate) mod exchange;
mod information;
pub(crate) mod reservation;
#[cfg(test)]
mod tests;

use abi::errno::Errno;
use abi::memory::op;
use machine::addr::GuestVirt;

use crate::call::{CallError, CallResult, Caller, operations};

/// Number of bits of the operation in the command. A restarted call has the number of completed
/// extents above them.
const EXTENT_SHIFT: u32 = 6;
const COMMAND_MASK: u64 = (1 << EXTENT_SHIFT) - 1;

/// Performs a `memory_op`. In a restarted call, `command` contains the progress above its low six
/// bits.
pub(crate) fn memory_op(caller: &mut Caller<'_>, command: u64, argument: GuestVirt) -> CallResult {
    let Ok(operation) = u32::try_from(command & COMMAND_MASK) else { return Err(Errno::ENOSYS.into()) };
    perform(caller, operation, command >> EXTENT_SHIFT, argument)
}

operations! {
    /// Performs an operation. If it has extents, it continues from extent `start`.
    fn perform(caller: &mut Caller<'_>, operation: u32, start: u64, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::INCREASE_RESERVATION => reservation::change(caller, operation, start, argument);
    op::DECREASE_RESERVATION => reservation::change(caller, operation, start, argument);
    op::POPULATE_PHYSMAP => reservation::change(caller, operation, start, argument);
    op::EXCHANGE => exchange::exchange(caller, argument);
    op::MAXIMUM_RAM_PAGE => information::maximum_ram_page();
    op::CURRENT_RESERVATION => information::reservation(caller, operation, argument);
    op::MAXIMUM_RESERVATION => information::reservation(caller, operation, argument);
    op::MAXIMUM_GPFN => information::reservation(caller, operation, argument);
    op::MACHPHYS_MFN_LIST => information::machphys_mfn_list(caller, argument);
    op::MACHPHYS_COMPAT_MFN_LIST => information::machphys_compat_mfn_list(caller, argument);
    op::MACHPHYS_MAPPING => information::machphys_mapping(caller, argument);
    op::MEMORY_MAP => information::memory_map(caller, argument);
    op::MACHINE_MEMORY_MAP: Control(control) => information::machine_memory_map(caller, control, argument);
    op::SET_MEMORY_MAP: Control(control) => control::set_memory_map(caller, control, argument);
    op::CLAIM_PAGES: Control(control) => control::claim_pages(caller, control, argument);
    op::ACQUIRE_RESOURCE: Control(control) => control::acquire_resource(caller, control, argument);
    op::GET_VNUMAINFO: Refused => Errno::EOPNOTSUPP;
    // These operations are for translated guests.
    op::ADD_TO_PHYSMAP: Refused => Errno::ENOSYS;
    op::ADD_TO_PHYSMAP_BATCH: Refused => Errno::ENOSYS;
    op::REMOVE_FROM_PHYSMAP: Refused => Errno::ENOSYS;
    op::SET_POD_TARGET: Refused => Errno::ENOSYS;
    op::GET_POD_TARGET: Refused => Errno::ENOSYS;
    op::GET_SHARING_FREED_PAGES: Refused => Errno::ENOSYS;
    op::GET_SHARING_SHARED_PAGES: Refused => Errno::ENOSYS;
    op::PAGING_OP: Refused => Errno::ENOSYS;
    op::ACCESS_OP: Refused => Errno::ENOSYS;
    op::SHARING_OP: Refused => Errno::ENOSYS;
    op::RESERVED_DEVICE_MEMORY_MAP: Refused => Errno::ENOSYS;
}

/// Restarts the call from extent `done`.
fn continue_from(operation: u32, done: u64) -> CallError {
    let command = u64::from(operation) | done << EXTENT_SHIFT;
    CallError::again().with_argument(0, command)
}
