//! Privilege and answers of `platform_op`.

mod microcode_update;

use abi::platform::{
    EfiGetNextVariableName, EfiTimeCall, EfiVariable, EfiVariableInfo, PcpuInfo, SymbolData, efi_function, pcpu,
};
use machine::firmware::status;
use machine::frames::Budget;
use zerocopy::FromZeros;

use super::*;
use crate::testing::{Guest, hypercall};
use crate::time;
use abi::xen::hypercall as number;

fn call<T: IntoBytes + Immutable>(guest: &mut Guest, command: u32, arguments: &T) -> CallResult {
    let mut call = PlatformOp::new_zeroed();
    (call.command, call.interface_version) = (command, interface::VERSION);
    assert!(arguments.write_to_prefix(&mut call.argument).is_ok());
    let place = guest.put(&call);
    hypercall(&mut guest.caller(), number::PLATFORM_OP, [place.get()])
}

fn answer<T: FromBytes>(guest: &mut Guest) -> T {
    let place = guest.address(0);
    Request { place, call: guest.read(place) }.arguments().expect("room for all arguments")
}

fn error(result: &CallResult) -> Option<Errno> {
    if let Err(CallError::Errno(errno)) = result { Some(*errno) } else { None }
}

#[test]
fn platform_op_is_refused_to_other_domains() {
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
    assert_eq!(error(&hypercall(&mut guest.caller(), number::PLATFORM_OP, [place.get()])), Some(Errno::EACCES));
    assert_eq!(error(&hypercall(&mut guest.caller(), number::PLATFORM_OP, [0])), Some(Errno::EFAULT));
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
fn a_parked_cpu_is_described_as_offline_and_stays_so() {
    let mut guest = Guest::privileged(0, 2);
    let parked = u32::try_from(machine::cpu::online()).expect("few CPUs");
    machine::hosted::cpus::set_parked(1);
    let wanted = PcpuInfo { cpu: parked, ..PcpuInfo::new_zeroed() };
    assert!(matches!(call(&mut guest, op::GET_CPUINFO, &wanted), Ok(0)));
    let info = answer::<PcpuInfo>(&mut guest);
    assert_eq!((info.flags, info.max_present, info.apic_id), (0, parked, parked));
    assert_eq!(error(&call(&mut guest, op::CPU_ONLINE, &parked)), Some(Errno::EPERM));
    assert!(matches!(call(&mut guest, op::CPU_OFFLINE, &parked), Ok(0)));
    assert_eq!(error(&call(&mut guest, op::CPU_ONLINE, &(parked + 1))), Some(Errno::EINVAL));
}

#[test]
fn unsupported_operations_are_refused() {
    let mut guest = Guest::privileged(0, 2);
    for (command, errno) in [
        (op::SET_PROCESSOR_PMINFO, Errno::ENOSYS),
        (op::EFI_RUNTIME_CALL, Errno::EOPNOTSUPP),
        (u32::MAX, Errno::ENOSYS),
    ] {
        let result = call(&mut guest, command, &[efi_function::GET_TIME; 4]);
        assert_eq!(error(&result), Some(errno), "{command}");
    }
    let sleep = EnterAcpiSleep { value_a: 0, value_b: 0, sleep_state: 3, flags: 0 };
    assert_eq!(error(&call(&mut guest, op::ENTER_ACPI_SLEEP, &sleep)), Some(Errno::EOPNOTSUPP));
}

/// A privileged guest on a machine with EFI runtime services.
fn with_firmware() -> Guest {
    let guest = Guest::privileged(0, 4);
    crate::hardware::init();
    machine::hosted::firmware::install();
    guest
}

const NAME_PAGE: usize = 1;
const DATA_PAGE: usize = 2;

fn put_name(guest: &mut Guest, name: &str) -> u64 {
    let base = guest.address(NAME_PAGE);
    for (character, at) in name.encode_utf16().chain([0]).zip(0..) {
        guest.caller().cpu.write_element(base, at, &character).expect("a mapped page");
    }
    base.get()
}

fn variable(guest: &mut Guest, function: u32, name: &str, size: u64) -> EfiVariable {
    let name = put_name(guest, name);
    let data = guest.address(DATA_PAGE).get();
    EfiVariable { function, name, size, data, vendor: [5; 16], ..EfiVariable::new_zeroed() }
}

#[test]
fn variables_are_set_listed_read_and_removed() {
    let mut guest = with_firmware();
    let data = guest.address(DATA_PAGE);
    guest.caller().cpu.write(data, b"contents").expect("a mapped page");
    let set = EfiVariable { misc: 7, ..variable(&mut guest, efi_function::SET_VARIABLE, "Test", 8) };
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &set), Ok(0)));
    assert_eq!(answer::<EfiVariable>(&mut guest).status, status::SUCCESS);

    let name = put_name(&mut guest, "");
    let next = EfiGetNextVariableName {
        function: efi_function::GET_NEXT_VARIABLE_NAME,
        name,
        size: 64,
        ..EfiGetNextVariableName::new_zeroed()
    };
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &next), Ok(0)));
    let found = answer::<EfiGetNextVariableName>(&mut guest);
    assert_eq!((found.status, found.size, found.vendor), (status::SUCCESS, 10, [5; 16]));
    assert_eq!(guest.read::<[u16; 5]>(GuestVirt::new(name)), *b"Test\0".map(u16::from).as_slice());
    assert!(matches!(
        call(&mut guest, op::EFI_RUNTIME_CALL, &EfiGetNextVariableName { vendor: [5; 16], ..next }),
        Ok(0)
    ));
    assert_eq!(answer::<EfiGetNextVariableName>(&mut guest).status, status::NOT_FOUND, "it was the last");

    guest.caller().cpu.write(data, &[0u8; 8]).expect("a mapped page");
    let get = variable(&mut guest, efi_function::GET_VARIABLE, "Test", 4);
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &get), Ok(0)));
    let small = answer::<EfiVariable>(&mut guest);
    assert_eq!((small.status, small.size), (status::BUFFER_TOO_SMALL, 8));
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &EfiVariable { size: 1 << 40, ..get }), Ok(0)));
    let read = answer::<EfiVariable>(&mut guest);
    assert_eq!((read.status, read.size, read.misc), (status::SUCCESS, 8, 7));
    assert_eq!(&guest.read::<[u8; 8]>(data), b"contents");

    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &EfiVariable { size: 0, ..set }), Ok(0)));
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &get), Ok(0)));
    assert_eq!(answer::<EfiVariable>(&mut guest).status, status::NOT_FOUND, "removed");
}

#[test]
fn hostile_calls_of_the_firmware_are_refused() {
    let mut guest = with_firmware();
    let set = variable(&mut guest, efi_function::SET_VARIABLE, "Test", 8);
    let get = variable(&mut guest, efi_function::GET_VARIABLE, "Test", 8);
    let outside = 0x7fff_f000_0000;
    for (wrong, errno) in [
        (EfiVariable { size: u64::MAX, ..set }, Errno::E2BIG),
        (EfiVariable { name: outside, ..set }, Errno::EFAULT),
        (EfiVariable { data: outside, ..set }, Errno::EFAULT),
        (EfiVariable { misc: 1, ..get }, Errno::EINVAL),
        (EfiVariable { function: efi_function::UPDATE_CAPSULE, ..get }, Errno::ENOSYS),
        (EfiVariable { function: u32::MAX, ..get }, Errno::ENOSYS),
    ] {
        assert_eq!(error(&call(&mut guest, op::EFI_RUNTIME_CALL, &wrong)), Some(errno), "{wrong:?}");
    }
    let endless = [u16::from(b'x'); 2048];
    let name = guest.address(NAME_PAGE);
    guest.caller().cpu.write(name, &endless).expect("a mapped page");
    assert_eq!(error(&call(&mut guest, op::EFI_RUNTIME_CALL, &get)), Some(Errno::EINVAL));
    let mut other = Guest::new(1, 4);
    assert_eq!(error(&call(&mut other, op::EFI_RUNTIME_CALL, &get)), Some(Errno::EPERM));
}

/// The remaining budget after a call, and the error.
fn left_after<T: IntoBytes + Immutable>(guest: &mut Guest, arguments: &T) -> (u32, Option<Errno>) {
    let mut call = PlatformOp::new_zeroed();
    (call.command, call.interface_version) = (op::EFI_RUNTIME_CALL, interface::VERSION);
    assert!(arguments.write_to_prefix(&mut call.argument).is_ok());
    let place = guest.put(&call);
    let mut caller = guest.caller();
    let result = hypercall(&mut caller, number::PLATFORM_OP, [place.get()]);
    (caller.budget.left(), error(&result))
}

#[test]
fn a_firmware_call_exhausts_the_budget() {
    let mut guest = with_firmware();
    let time = EfiTimeCall { function: efi_function::GET_TIME, ..EfiTimeCall::new_zeroed() };
    assert_eq!(left_after(&mut guest, &time), (0, None));
    let get = variable(&mut guest, efi_function::GET_VARIABLE, "Test", 8);
    assert_eq!(left_after(&mut guest, &get), (0, None), "not found by the firmware");
}

#[test]
fn a_refused_firmware_call_spends_budget_for_what_it_reads() {
    let mut guest = with_firmware();
    let spent = |guest: &mut Guest, arguments, expected| {
        let (left, errno) = left_after(guest, arguments);
        assert_eq!(errno, Some(expected));
        Budget::HYPERCALL - left
    };
    let outside = 0x7fff_f000_0000;
    let set = EfiVariable { data: outside, ..variable(&mut guest, efi_function::SET_VARIABLE, "Test", 128 << 10) };
    assert_eq!(spent(&mut guest, &set, Errno::EFAULT), 3 + 2048, "five characters, 128 KiB");
    let name = guest.address(NAME_PAGE);
    guest.caller().cpu.write(name, &[u16::from(b'x'); 2048]).expect("a mapped page");
    assert_eq!(spent(&mut guest, &set, Errno::EINVAL), 512, "a name without end");
}

#[test]
fn a_variable_for_which_the_heap_has_no_room_is_refused() {
    let mut guest = with_firmware();
    let set = variable(&mut guest, efi_function::SET_VARIABLE, "Test", 8);
    let get = variable(&mut guest, efi_function::GET_VARIABLE, "Test", 8);
    machine::hosted::heap::set_short(true);
    let refused = [set, get].map(|call| left_after(&mut guest, &call).1);
    machine::hosted::heap::set_short(false);
    assert_eq!(refused, [Some(Errno::ENOMEM); 2]);
    assert_eq!(left_after(&mut guest, &set).1, None);
}

#[test]
fn clock_counter_and_variable_space_come_from_the_firmware() {
    let mut guest = with_firmware();
    let time = EfiTimeCall { function: efi_function::GET_TIME, ..EfiTimeCall::new_zeroed() };
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &time), Ok(0)));
    let told = answer::<EfiTimeCall>(&mut guest);
    assert_eq!((told.time, told.resolution, told.misc), ([7; 16], 1, 1));
    let room = EfiVariableInfo { function: efi_function::QUERY_VARIABLE_INFO, ..EfiVariableInfo::new_zeroed() };
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &room), Ok(0)));
    assert_eq!(answer::<EfiVariableInfo>(&mut guest).remain_store_size, 60 << 10);
    let snapshot = EfiVariableInfo { misc: 1, ..room };
    assert_eq!(error(&call(&mut guest, op::EFI_RUNTIME_CALL, &snapshot)), Some(Errno::EOPNOTSUPP));
    let count = EfiTimeCall { function: efi_function::GET_NEXT_HIGH_MONOTONIC_COUNT, ..time };
    assert!(matches!(call(&mut guest, op::EFI_RUNTIME_CALL, &count), Ok(0)));
    assert_eq!(answer::<EfiTimeCall>(&mut guest).misc, 9);
    let wakeup = EfiTimeCall { function: efi_function::SET_WAKEUP_TIME, misc: 4, ..time };
    assert_eq!(error(&call(&mut guest, op::EFI_RUNTIME_CALL, &wakeup)), Some(Errno::EINVAL));
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
fn symbols_end_when_the_number_does_not_change() {
    let mut guest = Guest::privileged(0, 2);
    let mut wanted = SymbolData::new_zeroed();
    wanted.symbol_number = machine::symbols::count();
    assert!(matches!(call(&mut guest, op::GET_SYMBOL, &wanted), Ok(0)));
    assert_eq!(answer::<SymbolData>(&mut guest).symbol_number, wanted.symbol_number);
    wanted.symbol_number += 1;
    assert_eq!(error(&call(&mut guest, op::GET_SYMBOL, &wanted)), Some(Errno::ERANGE));
}
