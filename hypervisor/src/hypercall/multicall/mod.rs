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
mod costs;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;
    use abi::arch_x86_64::IretContext;

    fn call(operation: u32) -> MulticallEntry {
        MulticallEntry { operation: operation.into(), result: 7, arguments: [0; 6] }
    }

    #[test]
    fn a_nested_multicall_is_refused() {
        let mut guest = Guest::new(1, 2);
        let list = guest.put(&[call(hypercall::MULTICALL)]);
        assert!(matches!(multicall(&mut guest.caller(), list, 1), Ok(0)));
        let [nested]: [MulticallEntry; 1] = guest.read(list);
        assert_eq!(nested.result, error_value(Errno::EINVAL));
    }

    #[test]
    fn an_iret_in_a_multicall_ends_it() {
        let mut guest = Guest::new(1, 3);
        let frame = IretContext {
            rax: 0x33,
            r11: 0x11,
            rcx: 0x22,
            flags: 0,
            rip: guest.address(1).get(),
            cs: 0xe030,
            rflags: 0x202,
            rsp: guest.address(2).get(),
            ss: 0xe02b,
        };
        let stack = guest.address(2);
        let list = guest.put(&[call(hypercall::XEN_VERSION), call(hypercall::IRET), call(hypercall::XEN_VERSION)]);
        let mut caller = guest.caller();
        caller.cpu.write(stack, &frame).unwrap();
        caller.cpu.registers_mut().rsp = stack.get();
        assert!(matches!(multicall(&mut caller, list, 3), Ok(0x33)));
        let registers = caller.cpu.registers();
        assert_eq!((registers.rip, registers.rsp), (frame.rip, frame.rsp));
        assert_eq!((registers.rcx, registers.r11, registers.rflags), (0x22, 0x11, 0x202));
        let results = guest.read::<[MulticallEntry; 3]>(list).map(|entry| entry.result);
        assert_eq!(results, [4 << 16 | 17, 0x33, 7]);
    }

    #[test]
    fn an_iret_without_a_frame_in_a_multicall_kills_the_guest() {
        let mut guest = Guest::new(1, 2);
        let list = guest.put(&[call(hypercall::IRET)]);
        let mut caller = guest.caller();
        caller.cpu.registers_mut().rsp = 0x10_0000;
        assert!(matches!(multicall(&mut caller, list, 1), Err(CallError::Kill(_))));
    }

    #[test]
    fn a_multicall_of_short_calls_is_preempted() {
        let mut guest = Guest::new(1, 2);
        let call = MulticallEntry { operation: hypercall::XEN_VERSION.into(), result: 7, arguments: [0; 6] };
        let list = guest.put(&[call; 32]);
        let row = crate::hypercall::table::row(hypercall::XEN_VERSION.into()).expect("a row");
        let result = multicall(&mut guest.caller_with(10 * (COST_OF_CALL + row.cost)), list, 32);
        let Err(CallError::Continue(Continuation { arguments, .. })) = result else { panic!("{result:?}") };
        let done = list.offset(10 * size_of::<MulticallEntry>() as u64).get();
        assert_eq!(arguments, [Some(done), Some(22), None, None]);
    }
}
