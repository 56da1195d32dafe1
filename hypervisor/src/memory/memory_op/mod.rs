//! `memory_op`: how much memory a domain has, and changes of it. One file for each group of operations.

pub(crate) mod control;
pub(crate) mod exchange;
mod information;
pub(crate) mod reservation;
#[cfg(test)]
mod tests;

use abi::errno::Errno;
use abi::memory::op;
use machine::addr::GuestVirt;

use crate::call::{CallError, CallResult, Caller};

/// Bits of the command below which the number of extents done so far stands, in a call that is being continued.
const EXTENT_SHIFT: u32 = 6;
const COMMAND_MASK: u64 = (1 << EXTENT_SHIFT) - 1;

/// Dispatches on the command; `command` carries the progress of a continued call above its low six bits.
pub(crate) fn memory_op(caller: &mut Caller<'_>, command: u64, argument: GuestVirt) -> CallResult {
    let start = command >> EXTENT_SHIFT;
    let Ok(operation) = u32::try_from(command & COMMAND_MASK) else { return Err(Errno::ENOSYS.into()) };
    match operation {
        op::INCREASE_RESERVATION | op::DECREASE_RESERVATION | op::POPULATE_PHYSMAP => {
            reservation::change(caller, operation, start, argument)
        }
        op::EXCHANGE => exchange::exchange(caller, argument),
        op::MAXIMUM_RAM_PAGE => information::maximum_ram_page(),
        op::CURRENT_RESERVATION | op::MAXIMUM_RESERVATION | op::MAXIMUM_GPFN => {
            information::reservation(caller, operation, argument)
        }
        op::MACHPHYS_MFN_LIST => information::machphys_mfn_list(caller, argument),
        op::MACHPHYS_COMPAT_MFN_LIST => information::machphys_compat_mfn_list(caller, argument),
        op::MACHPHYS_MAPPING => information::machphys_mapping(caller, argument),
        op::MEMORY_MAP => information::memory_map(caller, argument),
        op::MACHINE_MEMORY_MAP if caller.domain.is_privileged() => information::machine_memory_map(caller, argument),
        op::MACHINE_MEMORY_MAP => Err(Errno::EPERM.into()),
        op::SET_MEMORY_MAP => control::set_memory_map(caller, argument),
        op::CLAIM_PAGES => control::claim_pages(caller, argument),
        op::ACQUIRE_RESOURCE => control::acquire_resource(caller, argument),
        op::GET_VNUMAINFO => Err(Errno::EOPNOTSUPP.into()),
        // These are for guests whose physical memory Paravane translates, which PV guests' is not.
        op::ADD_TO_PHYSMAP | op::ADD_TO_PHYSMAP_BATCH | op::REMOVE_FROM_PHYSMAP => Err(Errno::ENOSYS.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The same call again, from extent `done` on.
fn continue_from(operation: u32, done: u64) -> CallError {
    let command = u64::from(operation) | done << EXTENT_SHIFT;
    CallError::Continue { arguments: [Some(command), None, None, None], promotion: None }
}
