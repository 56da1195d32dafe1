//! Operations on PCI functions. The hardware domain reports the functions that it finds; Paravane
//! records them and programs their messages.

use abi::errno::Errno;
use abi::physdev::{
    DebugPort, ManagePci, ManagePciExtended, PciDevice, PciDeviceAdd, PciMmcfgReserved, debug_port, pci_device,
};
use machine::addr::{GuestVirt, MachineAddr, Mfn};
use machine::hardware::pci::Function;
use machine::hardware::{DeviceFrame, Hardware};

use crate::call::{CallResult, Caller};
use crate::guest_log::guest_log;
use crate::hardware::{devices, interrupts};

/// The function of a request. It must be in segment 0, the only one whose configuration space is
/// accessible through ports.
fn function(device: &PciDevice) -> Result<Function, Errno> {
    if device.segment != 0 {
        return Err(Errno::ENODEV);
    }
    Ok(Function { bus: device.bus, device_function: device.device_function })
}

pub(super) fn manage_add(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let ManagePci { bus, device_function } = caller.cpu.read(argument)?;
    devices::add(hardware, Function { bus, device_function })?;
    Ok(0)
}

pub(super) fn manage_remove(caller: &mut Caller<'_>, _: &Hardware, argument: GuestVirt) -> CallResult {
    let ManagePci { bus, device_function } = caller.cpu.read(argument)?;
    devices::remove(Function { bus, device_function })?;
    Ok(0)
}

pub(super) fn manage_add_extended(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: ManagePciExtended = caller.cpu.read(argument)?;
    if request.is_extended_function != 0 && request.is_virtual_function != 0 {
        return Err(Errno::EINVAL.into());
    }
    devices::add(hardware, Function { bus: request.bus, device_function: request.device_function })?;
    Ok(0)
}

pub(super) fn device_add(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: PciDeviceAdd = caller.cpu.read(argument)?;
    if request.flags & !(pci_device::EXTFN | pci_device::VIRTFN | pci_device::PXM) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let device = PciDevice { segment: request.segment, bus: request.bus, device_function: request.device_function };
    devices::add(hardware, function(&device)?)?;
    Ok(0)
}

pub(super) fn device_remove(caller: &mut Caller<'_>, _: &Hardware, argument: GuestVirt) -> CallResult {
    let device: PciDevice = caller.cpu.read(argument)?;
    devices::remove(function(&device)?)?;
    Ok(0)
}

/// Checks a reported MMCONFIG region. Paravane uses ports for configuration space, so the region is
/// not recorded.
pub(super) fn mmcfg_reserved(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let request: PciMmcfgReserved = caller.cpu.read(argument)?;
    let frame = Mfn::containing(MachineAddr::new(request.address));
    if request.segment != 0 || request.start_bus > request.end_bus {
        return Err(Errno::ENODEV.into());
    }
    if hardware.device_frame(frame) == DeviceFrame::Refused {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub(super) fn restore_msi(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let ManagePci { bus, device_function } = caller.cpu.read(argument)?;
    restore(caller, hardware, Function { bus, device_function })
}

pub(super) fn restore_msi_extended(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let device: PciDevice = caller.cpu.read(argument)?;
    restore(caller, hardware, function(&device)?)
}

fn restore(caller: &Caller<'_>, hardware: &Hardware, function: Function) -> CallResult {
    if !devices::is_known(function) {
        return Err(Errno::ENODEV.into());
    }
    let restored = interrupts::restore(hardware, function);
    guest_log!(caller.domain, Debug, "messages of {restored} interrupts of {function:?} restored");
    Ok(0)
}

/// `prepare_msix` and `release_msix`: check that the function has MSI-X. Nothing else is needed,
/// since Paravane writes the MSI-X table itself.
pub(super) fn prepare_msix(caller: &mut Caller<'_>, hardware: &Hardware, argument: GuestVirt) -> CallResult {
    let device: PciDevice = caller.cpu.read(argument)?;
    let function = function(&device)?;
    if !devices::is_known(function) || !devices::has_msix(hardware, function) {
        return Err(Errno::ENODEV.into());
    }
    Ok(0)
}

/// Notification about the reset of a debug port. Paravane uses none.
pub(super) fn debug_port(caller: &mut Caller<'_>, _: &Hardware, argument: GuestVirt) -> CallResult {
    let DebugPort { operation, .. } = caller.cpu.read(argument)?;
    match u32::from(operation) {
        debug_port::RESET_PREPARE | debug_port::RESET_DONE => Ok(0),
        _ => Err(Errno::ENOSYS.into()),
    }
}
