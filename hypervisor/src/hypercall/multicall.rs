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
        if index != 0 && (!caller.settle(caller.domain) || caller.budget.is_exhausted()) {
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

#[cfg(test)]
mod costs;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    #[test]
    fn neither_iret_nor_another_multicall_is_done_within_one() {
        let mut guest = Guest::new(1, 2);
        let call = |operation: u32| MulticallEntry { operation: operation.into(), result: 7, arguments: [0; 6] };
        let list = guest.put(&[call(hypercall::IRET), call(hypercall::MULTICALL)]);
        let before = guest.caller().cpu.registers().rip;
        assert!(matches!(multicall(&mut guest.caller(), list, 2), Ok(0)));
        let [iret, nested]: [MulticallEntry; 2] = guest.read(list);
        assert_eq!((iret.result, nested.result), (error_value(Errno::ENOSYS), error_value(Errno::EINVAL)));
        assert_eq!(guest.caller().cpu.registers().rip, before);
        assert!(guest.caller().cpu.context().is_in_kernel());
    }

    #[test]
    fn a_multicall_of_short_calls_gives_way() {
        let mut guest = Guest::new(1, 2);
        let call = MulticallEntry { operation: hypercall::XEN_VERSION.into(), result: 7, arguments: [0; 6] };
        let list = guest.put(&[call; 32]);
        let row = crate::hypercall::table::row(hypercall::XEN_VERSION.into()).expect("a call that there is");
        let result = multicall(&mut guest.caller_with(10 * (COST_OF_CALL + row.cost)), list, 32);
        let Err(CallError::Continue { arguments, .. }) = result else { panic!("{result:?}") };
        let done = list.offset(10 * size_of::<MulticallEntry>() as u64).get();
        assert_eq!(arguments, [Some(done), Some(22), None, None]);
    }
}
