//! `efi_runtime_call`: EFI runtime services, called for the initial domain with copies of its
//! buffers.

use abi::errno::Errno;
use abi::platform::{
    EfiGetNextVariableName, EfiRuntimeCall, EfiTimeCall, EfiVariable, EfiVariableInfo, efi_function, efi_get_time,
    efi_get_wakeup_time, efi_set_wakeup_time, efi_variable_info,
};
use alloc::vec::Vec;
use machine::addr::GuestVirt;
use machine::firmware::{Name, NotCalled, Service, TimeCapabilities, status};
use machine::frames::Budget;
use machine::heap;
use machine::speculation::MaskedIndex;

use super::Request;
use crate::call::{CallError, CallResult, Caller};
use crate::hardware;

/// Maximum length of a variable's name in characters, including the terminating zero, and maximum
/// size of its contents in bytes.
const MAX_NAME: usize = 1024;
const LARGEST_VARIABLE: u64 = 128 << 10;
/// Characters of a name that are read, and bytes of contents that are cleared and copied, per unit
/// of the budget.
const CHARACTERS_PER_UNIT: usize = 2;
const BYTES_PER_UNIT: u64 = 64;

pub(super) fn runtime_call(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let hardware = hardware::of(caller.domain).ok_or(Errno::EOPNOTSUPP)?;
    hardware.runtime_services().ok_or(Errno::EOPNOTSUPP)?;
    let common: EfiRuntimeCall = request.arguments()?;
    match common.function {
        efi_function::GET_TIME => get_time(caller, request),
        efi_function::SET_TIME => set_time(caller, request),
        efi_function::GET_WAKEUP_TIME => get_wakeup_time(caller, request),
        efi_function::SET_WAKEUP_TIME => set_wakeup_time(caller, request),
        efi_function::GET_NEXT_HIGH_MONOTONIC_COUNT => next_count(caller, request),
        efi_function::GET_VARIABLE => get_variable(caller, request),
        efi_function::SET_VARIABLE => set_variable(caller, request),
        efi_function::GET_NEXT_VARIABLE_NAME => next_name(caller, request),
        efi_function::QUERY_VARIABLE_INFO => variable_info(caller, request),
        // `UpdateCapsule`, `QueryCapsuleCapabilities` and unknown functions.
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Calls a service and returns its status.
fn call(caller: &mut Caller<'_>, service: Service<'_>) -> Result<u64, CallError> {
    let hardware = hardware::of(caller.domain).ok_or(Errno::EOPNOTSUPP)?;
    let status = hardware.call_firmware(caller.cpu, service).map_err(|why| match why {
        NotCalled::None => Errno::EOPNOTSUPP.into(),
        NotCalled::BadName => Errno::EINVAL.into(),
        NotCalled::Busy => CallError::again(),
    })?;
    // The service may have taken milliseconds, so the remaining budget is spent: the pCPU must
    // check for other work next.
    caller.budget.spend(Budget::HYPERCALL);
    Ok(status)
}

/// Refuses flags that the function does not define.
fn check_flags(given: u32, known: u32) -> Result<(), Errno> {
    if given & !known == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

fn get_time(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiTimeCall = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    let mut capabilities = TimeCapabilities::default();
    let service = Service::GetTime { time: &mut arguments.time, capabilities: &mut capabilities };
    arguments.status = call(caller, service)?;
    (arguments.resolution, arguments.accuracy) = (capabilities.resolution, capabilities.accuracy);
    arguments.misc = if capabilities.sets_to_zero == 0 { 0 } else { efi_get_time::SET_CLEARS_NS };
    request.answer(caller, &arguments)
}

fn set_time(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiTimeCall = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    arguments.status = call(caller, Service::SetTime { time: &arguments.time })?;
    request.answer(caller, &arguments)
}

fn get_wakeup_time(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiTimeCall = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    let (mut enabled, mut pending) = (0, 0);
    let service = Service::GetWakeupTime { enabled: &mut enabled, pending: &mut pending, time: &mut arguments.time };
    arguments.status = call(caller, service)?;
    arguments.misc = if enabled == 0 { 0 } else { efi_get_wakeup_time::ENABLED }
        | if pending == 0 { 0 } else { efi_get_wakeup_time::PENDING };
    request.answer(caller, &arguments)
}

fn set_wakeup_time(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiTimeCall = request.arguments()?;
    let flags = arguments.misc;
    check_flags(flags, efi_set_wakeup_time::ENABLE | efi_set_wakeup_time::ENABLE_ONLY)?;
    let enable = flags & efi_set_wakeup_time::ENABLE != 0;
    let time = Some(&arguments.time).filter(|_| enable && flags & efi_set_wakeup_time::ENABLE_ONLY == 0);
    arguments.status = call(caller, Service::SetWakeupTime { enable, time })?;
    request.answer(caller, &arguments)
}

fn next_count(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiRuntimeCall = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    arguments.status = call(caller, Service::GetNextHighMonotonicCount { count: &mut arguments.misc })?;
    request.answer(caller, &arguments)
}

fn get_variable(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiVariable = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    let characters = read_name(caller, arguments.name)?;
    let mut data = buffer(caller, arguments.size.min(LARGEST_VARIABLE))?;
    arguments.status = call(
        caller,
        Service::GetVariable {
            name: Name::new(&characters).ok_or(Errno::EINVAL)?,
            vendor: &arguments.vendor,
            attributes: &mut arguments.misc,
            size: &mut arguments.size,
            data: &mut data,
        },
    )?;
    if arguments.status == status::SUCCESS {
        let filled = usize::try_from(arguments.size).ok().and_then(|size| data.part(..size)).ok_or(Errno::EIO)?;
        caller.cpu.write_bytes(GuestVirt::new(arguments.data), filled)?;
    }
    request.answer(caller, &arguments)
}

fn set_variable(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiVariable = request.arguments()?;
    let characters = read_name(caller, arguments.name)?;
    if arguments.size > LARGEST_VARIABLE {
        return Err(Errno::E2BIG.into());
    }
    let mut data = buffer(caller, arguments.size)?;
    caller.cpu.read_bytes(GuestVirt::new(arguments.data), &mut data)?;
    arguments.status = call(
        caller,
        Service::SetVariable {
            name: Name::new(&characters).ok_or(Errno::EINVAL)?,
            vendor: &arguments.vendor,
            attributes: arguments.misc,
            data: &data,
        },
    )?;
    request.answer(caller, &arguments)
}

fn next_name(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiGetNextVariableName = request.arguments()?;
    check_flags(arguments.misc, 0)?;
    let place = GuestVirt::new(arguments.name);
    let last = read_name(caller, arguments.name)?;
    // The buffer must have room for the given name, also on the guest's side.
    let room = usize::try_from(arguments.size / 2).unwrap_or(MAX_NAME).min(MAX_NAME);
    if last.len() > room {
        return Err(Errno::EINVAL.into());
    }
    let mut name = last;
    name.resize(room, 0);
    let service =
        Service::GetNextVariableName { size: &mut arguments.size, name: &mut name, vendor: &mut arguments.vendor };
    arguments.status = call(caller, service)?;
    if arguments.status == status::SUCCESS {
        let length = usize::try_from(arguments.size / 2).ok();
        let found = length.and_then(|length| name.part(..length)).ok_or(Errno::EIO)?;
        for (character, at) in found.iter().zip(0..) {
            caller.cpu.write_element(place, at, character)?;
        }
    }
    request.answer(caller, &arguments)
}

fn variable_info(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: EfiVariableInfo = request.arguments()?;
    check_flags(arguments.misc, efi_variable_info::BOOT_SNAPSHOT)?;
    if arguments.misc != 0 {
        // The information at boot was not recorded.
        return Err(Errno::EOPNOTSUPP.into());
    }
    arguments.status = call(
        caller,
        Service::QueryVariableInfo {
            attributes: arguments.attributes,
            maximum: &mut arguments.max_store_size,
            remaining: &mut arguments.remain_store_size,
            largest: &mut arguments.max_size,
        },
    )?;
    request.answer(caller, &arguments)
}

/// Reads a variable's name, including the terminating zero.
fn read_name(caller: &mut Caller<'_>, address: u64) -> Result<Vec<u16>, Errno> {
    let place = GuestVirt::new(address);
    let mut name = Vec::new();
    name.try_reserve_exact(MAX_NAME).map_err(|_| Errno::ENOMEM)?;
    for at in 0..MAX_NAME {
        if at % CHARACTERS_PER_UNIT == 0 {
            caller.budget.spend(1);
        }
        let character: u16 = caller.cpu.read_element(place, at as u64)?;
        name.push(character);
        if character == 0 {
            return Ok(name);
        }
    }
    Err(Errno::EINVAL)
}

/// Allocates a buffer for a variable's contents; `size` is at most [`LARGEST_VARIABLE`]. That is
/// enough to require a check of the heap's free memory.
fn buffer(caller: &mut Caller<'_>, size: u64) -> Result<Vec<u8>, Errno> {
    caller.budget.spend(u32::try_from(size / BYTES_PER_UNIT).unwrap_or(u32::MAX));
    let size = usize::try_from(size).map_err(|_| Errno::E2BIG)?;
    if !heap::has_room(size) {
        return Err(Errno::ENOMEM);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(size, 0);
    Ok(bytes)
}
