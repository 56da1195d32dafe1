//! `multicall`: several hypercalls in one, each with its own result.

use core::mem::offset_of;

use abi::errno::Errno;
use abi::xen::{MulticallEntry, hypercall};
use machine::addr::GuestVirt;

use super::dispatch::{call, error_value};
use crate::call::{CallError, CallResult, Caller, Continuation};
use crate::trap;

/// Cost of each call in addition to its own: many calls are too short to have one, but thousands of
/// them take time.
const COST_OF_CALL: u32 = 16;

/// Performs `count` calls from `list` in order. An error does not stop it. An `iret` ends the
/// multicall: the guest resumes at the frame, and the rest of the list is not performed.
pub(super) fn multicall(caller: &mut Caller<'_>, list: GuestVirt, count: u32) -> CallResult {
    for index in 0..count {
        let entry_address = list.offset(u64::from(index) * size_of::<MulticallEntry>() as u64);
        if index != 0 && (!caller.finish_teardown(None) || caller.budget.is_exhausted()) {
            return Err(CallError::again().with_rest::<MulticallEntry>(0, list, count, index, 0));
        }
        let entry: MulticallEntry = caller.cpu.read(entry_address)?;
        if entry.operation == u64::from(hypercall::IRET) {
            return iret(caller, entry_address);
        }
        let result = match entry.operation {
            operation if operation == u64::from(hypercall::MULTICALL) => {
                caller.budget.spend(COST_OF_CALL);
                Err(Errno::EINVAL.into())
            }
            operation => call(caller, operation, &entry.arguments, COST_OF_CALL),
        };
        let value = match result {
            Ok(value) => value,
            Err(CallError::Errno(errno)) => error_value(errno),
            Err(CallError::Continue(Continuation { arguments, promotion })) => {
                let first = entry_address.offset(offset_of!(MulticallEntry, arguments) as u64);
                for (slot, argument) in (0..).zip(arguments) {
                    if let Some(argument) = argument {
                        caller.cpu.write_element(first, slot, &argument)?;
                    }
                }
                let rest = CallError::Continue(Continuation { promotion, ..Continuation::default() });
                return Err(rest.with_rest::<MulticallEntry>(0, list, count, index, 0));
            }
            Err(kill) => return Err(kill),
        };
        caller.cpu.write(result_of(entry_address), &value)?;
    }
    Ok(0)
}

/// Performs the `iret` at `entry`, whose frame is on the stack with which the multicall was made.
/// The result of the call and of the multicall is the RAX in the frame.
fn iret(caller: &mut Caller<'_>, entry: GuestVirt) -> CallResult {
    trap::iret(caller.cpu, caller.domain).map_err(CallError::Kill)?;
    let value = caller.cpu.registers().rax;
    // The list need not be mapped in the address space that is active now.
    let _ = caller.cpu.write(result_of(entry), &value);
    Ok(value)
}

/// The address of the result of the call at `entry`.
const fn result_of(entry: GuestVirt) -> GuestVirt {
    entry.offset(offset_of!(MulticallEntry, result) as u64)
}

#[cfg(test)]
mod tests;
