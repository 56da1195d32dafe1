//! Who may ask, and what is answered.

use abi::platform::{PcpuInfo, SymbolData, efi_function, pcpu};
use zerocopy::FromZeros;

use super::*;
use crate::testing::Guest;

fn call<T: IntoBytes + Immutable>(guest: &mut Guest, command: u32, arguments: &T) -> CallResult {
    let mut call = PlatformOp::new_zeroed();
    (call.command, call.interface_version) = (command, interface::VERSION);
    assert!(arguments.write_to_prefix(&mut call.argument).is_ok());
    let place = guest.put(&call);
    platform_op(&mut guest.caller(), place)
}

fn answer<T: FromBytes>(guest: &mut Guest) -> T {
    let place = guest.address(0);
    Request { place, call: guest.read(place) }.arguments().expect("room for all arguments")
}

fn error(result: &CallResult) -> Option<Errno> {
    if let Err(CallError::Errno(errno)) = result { Some(*errno) } else { None }
}

#[test]
fn nobody_but_the_initial_domain_may_ask_for_anything() {
    let mut guest = Guest::new(1, 2);
    let before = time::wall_clock();
    for (_, command) in op::NAMES {
        let result = call(&mut guest, *command, &[0xffu8; 128]);
        assert_eq!(error(&result), Some(Errno::EPERM), "{command}");
    }
    assert_eq!(time::wall_clock(), before);
}

#[test]
fn another_version_of_the_interface_is_refused() {
    let mut guest = Guest::privileged(0, 2);
    let place = guest.put(&[0u8; size_of::<PlatformOp>()]);
    assert_eq!(error(&platform_op(&mut guest.caller(), place)), Some(Errno::EACCES));
    assert_eq!(error(&platform_op(&mut guest.caller(), GuestVirt::new(0))), Some(Errno::EFAULT));
}

#[test]
fn the_wall_clock_is_set_for_all() {
    let mut guest = Guest::privileged(0, 2);
    let mut wanted = SetTime64 { seconds: 2_000_000_000, nanoseconds: 5, must_be_zero: 0, system_time: 7_000_000_000 };
    assert!(matches!(call(&mut guest, op::SETTIME64, &wanted), Ok(0)));
    assert_eq!(time::wall_clock(), 1_999_999_993 * 1_000_000_000 + 5);
    wanted.must_be_zero = 1;
    assert_eq!(error(&call(&mut guest, op::SETTIME64, &wanted)), Some(Errno::EINVAL));
    wanted = SetTime64 { seconds: u64::MAX, nanoseconds: 0, must_be_zero: 0, system_time: 0 };
    assert_eq!(error(&call(&mut guest, op::SETTIME64, &wanted)), Some(Errno::EINVAL));
}

#[test]
fn cpus_are_described_and_stay_online() {
    let mut guest = Guest::privileged(0, 2);
    let mut wanted = PcpuInfo::new_zeroed();
    assert!(matches!(call(&mut guest, op::GET_CPUINFO, &wanted), Ok(0)));
    assert_eq!(answer::<PcpuInfo>(&mut guest).flags, pcpu::ONLINE);
    wanted.cpu = u32::MAX;
    assert!(matches!(call(&mut guest, op::GET_CPUINFO, &wanted), Ok(0)));
    assert_eq!(answer::<PcpuInfo>(&mut guest).flags, pcpu::INVALID);
    assert_eq!(error(&call(&mut guest, op::CPU_OFFLINE, &0u32)), Some(Errno::EOPNOTSUPP));
    assert_eq!(error(&call(&mut guest, op::CPU_OFFLINE, &u32::MAX)), Some(Errno::EINVAL));
    assert!(matches!(call(&mut guest, op::CPU_ONLINE, &0u32), Ok(0)));
}

#[test]
fn what_is_not_supported_does_not_pretend_to_be() {
    let mut guest = Guest::privileged(0, 2);
    for (command, errno) in [
        (op::MICROCODE_UPDATE, Errno::EOPNOTSUPP),
        (op::SET_PROCESSOR_PMINFO, Errno::ENOSYS),
        (op::EFI_RUNTIME_CALL, Errno::ENOSYS),
        (u32::MAX, Errno::ENOSYS),
    ] {
        let result = call(&mut guest, command, &[efi_function::GET_TIME; 4]);
        assert_eq!(error(&result), Some(errno), "{command}");
    }
    let sleep = EnterAcpiSleep { value_a: 0, value_b: 0, sleep_state: 3, flags: 0 };
    assert_eq!(error(&call(&mut guest, op::ENTER_ACPI_SLEEP, &sleep)), Some(Errno::EOPNOTSUPP));
}

#[test]
fn the_screen_is_described_to_the_initial_domain() {
    let mut guest = Guest::privileged(0, 2);
    let size = crate::console::screen::DESCRIPTION_SIZE;
    let result = call(&mut guest, later_op::GET_DOM0_CONSOLE, &0u8);
    assert!(matches!(result, Ok(length) if length == size as u64));
    assert_eq!(Some(answer::<[u8; 40]>(&mut guest)), crate::console::screen::description());
    let mut other = Guest::new(1, 2);
    assert_eq!(error(&call(&mut other, later_op::GET_DOM0_CONSOLE, &0u8)), Some(Errno::EPERM));
}

#[test]
fn symbols_end_where_the_number_stays_the_same() {
    let mut guest = Guest::privileged(0, 2);
    let mut wanted = SymbolData::new_zeroed();
    wanted.symbol_number = machine::symbols::count();
    assert!(matches!(call(&mut guest, op::GET_SYMBOL, &wanted), Ok(0)));
    assert_eq!(answer::<SymbolData>(&mut guest).symbol_number, wanted.symbol_number);
    wanted.symbol_number += 1;
    assert_eq!(error(&call(&mut guest, op::GET_SYMBOL, &wanted)), Some(Errno::ERANGE));
}
