//! `multicall`: several hypercalls in one, each with its own result.

use core::mem::offset_of;

use abi::errno::Errno;
use abi::xen::{MulticallEntry, hypercall};
use machine::addr::GuestVirt;

use super::dispatch::{call, error_value};
use super::{CallError, CallResult, Caller};

/// What a call costs beside what it says itself: most say nothing, being short, but thousands on end are not.
const COST_OF_CALL: u32 = 16;

/// Performs `count` calls from `list`, in order, whatever becomes of each.
pub(super) fn multicall(caller: &mut Caller<'_>, list: GuestVirt, count: u32) -> CallResult {
    for index in 0..count {
        let entry_address = list.offset(u64::from(index) * size_of::<MulticallEntry>() as u64);
        if index != 0 && (!caller.settle() || caller.budget.is_exhausted()) {
            return Err(rest(entry_address, count - index, None));
        }
        caller.budget.spend(COST_OF_CALL);
        let entry: MulticallEntry = caller.cpu.read(entry_address)?;
        let result = match entry.operation {
            operation if operation == u64::from(hypercall::MULTICALL) => Err(Errno::EINVAL.into()),
            operation => call(caller, operation, entry.arguments),
        };
        let value = match result {
            Ok(value) => value,
            Err(CallError::Errno(errno)) => error_value(errno),
            Err(CallError::Continue { arguments, promotion }) => {
                let first = entry_address.offset(offset_of!(MulticallEntry, arguments) as u64);
                for (slot, argument) in (0..).zip(arguments) {
                    if let Some(argument) = argument {
                        caller.cpu.write_element(first, slot, &argument)?;
                    }
                }
                return Err(rest(entry_address, count - index, promotion));
            }
            Err(kill) => return Err(kill),
        };
        caller.cpu.write(entry_address.offset(offset_of!(MulticallEntry, result) as u64), &value)?;
    }
    Ok(0)
}

/// The same multicall from `list` on.
const fn rest(list: GuestVirt, count: u32, promotion: Option<machine::frames::Promotion>) -> CallError {
    CallError::Continue { arguments: [Some(list.get()), Some(count as u64), None, None], promotion }
}
