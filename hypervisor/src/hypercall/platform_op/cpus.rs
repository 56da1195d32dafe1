//! Operations on physical CPUs.

use abi::errno::Errno;
use abi::platform::{
    CoreParking, CpuOnline, GetIdleTime, PcpuInfo, PcpuVersion, ResourceEntry, ResourceOp, SetProcessorPdc,
    core_parking, pcpu, processor_power,
};
use machine::addr::{CpuId, GuestVirt, MAX_CPUS};
use machine::integers::saturating_u32;
use machine::{cpu, time};

use super::Request;
use crate::call::{CallResult, Caller};
use crate::scheduler;

/// The value for an unknown number.
const NONE: u32 = u32::MAX;
/// The revision of the capabilities list (ACPI 3.0, 8.4.1).
const PDC_REVISION: u32 = 1;
/// Cost of a CPU in a list, in units of the budget.
const COST_OF_CPU: u32 = 16;
/// Maximum number of accesses per `resource_op`.
const MAX_ENTRIES: u32 = 3;

fn running(number: u32) -> Option<CpuId> {
    CpuId::new(number).filter(|cpu| cpu.index() < cpu::online())
}

/// Whether a CPU has been started but is parked.
fn is_parked(number: u32) -> bool {
    number <= highest() && running(number).is_none()
}

fn highest() -> u32 {
    saturating_u32(cpu::online() + cpu::parked() - 1)
}

/// Returns the idle times of the CPUs in a set. CPUs that are not online are removed from the set.
pub(super) fn idle_time(caller: &mut Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: GetIdleTime = request.arguments()?;
    let (bitmap, times) = (GuestVirt::new(arguments.cpu_bitmap), GuestVirt::new(arguments.idle_time));
    let count = arguments.cpu_count.min(saturating_u32(MAX_CPUS));
    caller.budget.spend(count * COST_OF_CPU);
    for number in 0..count {
        let mut byte: u8 = caller.cpu.read_element(bitmap, u64::from(number / 8))?;
        let bit = 1 << (number % 8);
        match running(number) {
            _ if byte & bit == 0 => {}
            Some(cpu) => caller.cpu.write_element(times, u64::from(number), &scheduler::idle_time(cpu))?,
            None => {
                byte &= !bit;
                caller.cpu.write_element(bitmap, u64::from(number / 8), &byte)?;
            }
        }
    }
    arguments.now = time::now();
    request.answer(caller, &arguments)
}

pub(super) fn information(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: PcpuInfo = request.arguments()?;
    let started = CpuId::new(arguments.cpu).filter(|_| arguments.cpu <= highest());
    let (flags, apic_id, acpi_id) = match started {
        Some(cpu) => {
            let flags = if is_parked(arguments.cpu) { 0 } else { pcpu::ONLINE };
            (flags, cpu::apic_id(cpu), cpu::acpi_id(cpu).unwrap_or(NONE))
        }
        None => (pcpu::INVALID, NONE, NONE),
    };
    (arguments.flags, arguments.apic_id, arguments.acpi_id) = (flags, apic_id, acpi_id);
    arguments.max_present = highest();
    request.answer(caller, &arguments)
}

/// Returns the CPUID version of a CPU. All CPUs are of the same model, so the current one is read.
pub(super) fn version(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: PcpuVersion = request.arguments()?;
    arguments.max_present = highest();
    (arguments.vendor, arguments.family, arguments.model, arguments.stepping) = ([0; 12], 0, 0, 0);
    if running(arguments.cpu).is_some() {
        let [_, ebx, ecx, edx] = cpu::cpuid(0, 0);
        for (place, word) in arguments.vendor.chunks_exact_mut(4).zip([ebx, edx, ecx]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let [signature, ..] = cpu::cpuid(1, 0);
        (arguments.family, arguments.model, arguments.stepping) = parse(signature);
    }
    request.answer(caller, &arguments)
}

/// Decodes family, model and stepping (Intel SDM volume 2, CPUID).
const fn parse(signature: u32) -> (u32, u32, u32) {
    let family = signature >> 8 & 15;
    let model = signature >> 4 & 15;
    let extended_family = if family == 15 { signature >> 20 & 0xff } else { 0 };
    let extended_model = if family == 15 || family == 6 { signature >> 16 & 15 } else { 0 };
    (family + extended_family, extended_model << 4 | model, signature & 15)
}

/// Refuses to use a parked CPU.
pub(super) fn online(CpuOnline { cpu }: CpuOnline) -> CallResult {
    let refusal = if is_parked(cpu) { Errno::EPERM } else { Errno::EINVAL };
    running(cpu).map(|_| 0).ok_or_else(|| refusal.into())
}

/// Refuses to take a CPU offline, unless it is.
pub(super) fn offline(CpuOnline { cpu }: CpuOnline) -> CallResult {
    if is_parked(cpu) {
        return Ok(0);
    }
    Err(if running(cpu).is_some() { Errno::EOPNOTSUPP } else { Errno::EINVAL }.into())
}

/// Clears the capabilities that are reported to the firmware: Paravane manages neither idle states
/// nor frequencies. Processor states are refused.
pub(super) fn power_management(caller: &Caller<'_>, arguments: SetProcessorPdc) -> CallResult {
    if arguments.kind != processor_power::PDC {
        return Err(Errno::ENOSYS.into());
    }
    let list = GuestVirt::new(arguments.pdc);
    let [revision, count]: [u32; 2] = caller.cpu.read(list)?;
    if revision != PDC_REVISION || count == 0 {
        return Err(Errno::EINVAL.into());
    }
    caller.cpu.write_element(list, 2, &0u32)?;
    Ok(0)
}

/// Returns the number of parked CPUs, which is always zero. CPUs cannot be parked.
pub(super) fn parking(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut arguments: CoreParking = request.arguments()?;
    match arguments.kind {
        core_parking::GET => {
            arguments.idle_count = 0;
            request.answer(caller, &arguments)
        }
        core_parking::SET => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Refuses accesses to MSRs of a CPU: the first access gets an error status, and none is performed.
pub(super) fn resource(caller: &Caller<'_>, arguments: ResourceOp) -> CallResult {
    let entries = GuestVirt::new(arguments.entries);
    if arguments.entry_count == 0 {
        return Ok(0);
    }
    if arguments.entry_count > MAX_ENTRIES {
        return Err(Errno::E2BIG.into());
    }
    running(arguments.cpu).ok_or(Errno::ENODEV)?;
    let mut first: ResourceEntry = caller.cpu.read_element(entries, 0)?;
    first.command = (-Errno::EACCES.number()).cast_unsigned();
    caller.cpu.write_element(entries, 0, &first)?;
    Ok(0)
}
