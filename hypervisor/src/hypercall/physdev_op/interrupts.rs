//! Operations on interrupts.

use abi::errno::Errno;
use abi::physdev::{
    Apic, Eoi, GetFreePirq, IrqStatusQuery, IrqVector, MapPirq, PirqEoiGmfn, SetupGsi, UnmapPirq, irq_status, map_pirq,
};
use machine::addr::{GuestVirt, MachineAddr, Mfn};
use machine::frames::{SharedPage, TypedRef};
use machine::hardware::Hardware;
use machine::hardware::lines::Wiring;
use machine::hardware::pci::Function;
use machine::hardware::vector::Trigger;
use machine::integers::low_u8;
use machine::paging::NoEntries;

use super::check_own;
use crate::call::{CallResult, Caller};
use crate::hardware::interrupts;

/// The first register of the redirection table of an I/O APIC. An entry has two registers.
const REDIRECTION: u32 = 0x10;
const ENTRY_LEVEL: u32 = 1 << 15;
const ENTRY_ACTIVE_LOW: u32 = 1 << 13;

pub(super) fn eoi(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let hardware = caller.hardware().map_err(|_| Errno::EINVAL)?;
    let Eoi { irq } = caller.cpu.read(argument)?;
    interrupts::served(hardware, irq)?;
    Ok(0)
}

pub(super) fn status_query(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let hardware = caller.hardware().map_err(|_| Errno::EINVAL)?;
    let mut request: IrqStatusQuery = caller.cpu.read(argument)?;
    request.flags = if interrupts::needs_eoi(hardware, request.irq)? { irq_status::NEEDS_EOI } else { 0 };
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// Registers the EOI page, for both versions of the operation. The first version should also unmask
/// event channels automatically; guests do not rely on it.
pub(super) fn eoi_page(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let PirqEoiGmfn { gmfn } = caller.cpu.read(argument)?;
    let frame = caller.domain.frame(Mfn::new(gmfn)).ok_or(Errno::EINVAL)?;
    let page = TypedRef::acquire(frame, &mut NoEntries, &mut caller.budget)?;
    interrupts::publish_in(hardware, SharedPage::new(page))?;
    Ok(0)
}

pub(super) fn apic_read(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let mut request: Apic = caller.cpu.read(argument)?;
    let base = MachineAddr::new(request.physical_base);
    request.value = hardware.read_io_apic(base, request.register).ok_or(Errno::EINVAL)?;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// Writes an I/O APIC register. Only the trigger mode and polarity of a redirection entry are used,
/// as old kernels set them this way; Paravane controls the rest of the entry.
pub(super) fn apic_write(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: Apic = caller.cpu.read(argument)?;
    let base = MachineAddr::new(request.physical_base);
    hardware.read_io_apic(base, request.register).ok_or(Errno::EINVAL)?;
    let entry = request.register.checked_sub(REDIRECTION).ok_or(Errno::EPERM)?;
    if entry % 2 != 0 {
        return Ok(0);
    }
    let first = hardware.first_line(base).ok_or(Errno::EINVAL)?;
    let wiring = Wiring {
        trigger: if request.value & ENTRY_LEVEL != 0 { Trigger::Level } else { Trigger::Edge },
        active_low: request.value & ENTRY_ACTIVE_LOW != 0,
    };
    match interrupts::set_wiring(hardware, first + entry / 2, wiring) {
        Ok(()) | Err(Errno::EEXIST) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns the given number. The interface has no vectors any more. For the hardware domain the
/// number must be that of an interrupt line.
pub(super) fn alloc_vector(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: IrqVector = caller.cpu.read(argument)?;
    if caller.hardware().is_ok_and(|hardware| request.irq >= hardware.line_count()) {
        return Err(Errno::EINVAL.into());
    }
    request.vector = request.irq;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

pub(super) fn setup_gsi(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: SetupGsi = caller.cpu.read(argument)?;
    let line = u32::try_from(request.gsi).map_err(|_| Errno::EINVAL)?;
    let trigger = if request.triggering == 0 { Trigger::Edge } else { Trigger::Level };
    interrupts::set_wiring(hardware, line, Wiring { trigger, active_low: request.polarity != 0 })?;
    Ok(0)
}

pub(super) fn get_free_pirq(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let hardware = caller.hardware().map_err(|_| Errno::ENOSPC)?;
    let mut request: GetFreePirq = caller.cpu.read(argument)?;
    request.pirq = interrupts::allocate(hardware)?;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

pub(super) fn map_pirq(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let mut request: MapPirq = caller.cpu.read(argument)?;
    check_own(caller, request.domain)?;
    let kind = u32::try_from(request.kind).map_err(|_| Errno::EINVAL)?;
    let number = match kind {
        map_pirq::GSI => map_line(hardware, &request)?,
        map_pirq::MSI | map_pirq::MSI_SEG | map_pirq::MULTI_MSI => map_messages(hardware, &mut request, kind)?,
        _ => return Err(Errno::EINVAL.into()),
    };
    // Numbers are below the sign bit.
    request.pirq = number.cast_signed();
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// Maps an interrupt line. Its pirq is the line's number.
fn map_line(hardware: &Hardware, request: &MapPirq) -> Result<u32, Errno> {
    let line = u32::try_from(request.index).map_err(|_| Errno::EINVAL)?;
    if request.pirq >= 0 && request.pirq != request.index {
        return Err(Errno::EBUSY);
    }
    interrupts::map_line(hardware, line)
}

fn map_messages(hardware: &Hardware, request: &mut MapPirq, kind: u32) -> Result<u32, Errno> {
    let place = request.bus.cast_unsigned();
    // `MSI` has no segment. The other kinds store it above the bus number.
    let segment = if kind == map_pirq::MSI { 0 } else { place >> 16 };
    if segment != 0 {
        return Err(Errno::ENODEV);
    }
    let function =
        Function { bus: (place & 0xff) as u8, device_function: (request.device_function.cast_unsigned() & 0xff) as u8 };
    let entry = u16::try_from(request.entry).map_err(|_| Errno::EINVAL)?;
    let (count, entry) = match kind {
        map_pirq::MULTI_MSI if request.table_base != 0 => return Err(Errno::EINVAL),
        map_pirq::MULTI_MSI if !(1..=32).contains(&entry) => return Err(Errno::EDOM),
        map_pirq::MULTI_MSI => (low_u8(entry.next_power_of_two().into()), None),
        _ if request.table_base != 0 => (1, Some((entry, request.table_base))),
        _ => (1, None),
    };
    let wanted = u32::try_from(request.pirq).ok();
    interrupts::map_messages(hardware, function, wanted, count, entry)
}

pub(super) fn unmap_pirq(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: UnmapPirq = caller.cpu.read(argument)?;
    check_own(caller, request.domain)?;
    let number = u32::try_from(request.pirq).map_err(|_| Errno::EINVAL)?;
    interrupts::unmap(hardware, number)?;
    Ok(0)
}
