//! Calls that a multicall treats specially, and its limit per round.

mod costs;

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
