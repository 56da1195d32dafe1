//! `physdev_op`: interrupts and ports of physical devices (public header `physdev.h`). A domain
//! without devices can only set its own I/O privilege level.

mod interrupts;
mod pci;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::physdev::{SetIoBitmap, SetIopl, op};
use abi::xen::DomainId;
use machine::addr::GuestVirt;

use crate::call::{CallError, CallResult, Caller, operations};
use crate::limits::{self, Limit};

const IO_PORTS: u32 = 1 << 16;

/// Performs a `physdev_op`.
pub(crate) fn physdev_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    caller.budget.spend(cost(operation));
    let result = perform(caller, operation, argument);
    if matches!(result, Err(CallError::Errno(Errno::ENOSPC))) && caller.hardware().is_ok() {
        limits::met(caller.domain, Limit::InterruptMessages);
    }
    result
}

/// The cost of an operation, in units of the budget. Most operations access a device's
/// configuration space or an I/O APIC, which is slow.
const fn cost(operation: u32) -> u32 {
    match operation {
        op::SET_IOPL | op::SET_IOBITMAP => 0,
        op::EOI | op::IRQ_STATUS_QUERY | op::ALLOC_IRQ_VECTOR => 8,
        _ => 512,
    }
}

operations! {
    /// Performs an operation. Some operations return another error than `EPERM` to a domain without
    /// devices.
    fn perform(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::SET_IOPL => set_iopl(caller, argument);
    op::SET_IOBITMAP => set_io_bitmap(caller, argument);
    op::EOI => interrupts::eoi(caller, argument);
    op::IRQ_STATUS_QUERY => interrupts::status_query(caller, argument);
    op::ALLOC_IRQ_VECTOR => interrupts::alloc_vector(caller, argument);
    op::GET_FREE_PIRQ => interrupts::get_free_pirq(caller, argument);
    op::PIRQ_EOI_GMFN_V1: Hardware(hardware) => interrupts::eoi_page(caller, hardware, argument);
    op::PIRQ_EOI_GMFN_V2: Hardware(hardware) => interrupts::eoi_page(caller, hardware, argument);
    op::APIC_READ: Hardware(hardware) => interrupts::apic_read(caller, hardware, argument);
    op::APIC_WRITE: Hardware(hardware) => interrupts::apic_write(caller, hardware, argument);
    op::MAP_PIRQ: Hardware(hardware) => interrupts::map_pirq(caller, hardware, argument);
    op::UNMAP_PIRQ: Hardware(hardware) => interrupts::unmap_pirq(caller, hardware, argument);
    op::SETUP_GSI: Hardware(hardware) => interrupts::setup_gsi(caller, hardware, argument);
    op::MANAGE_PCI_ADD: Hardware(hardware) => pci::manage_add(caller, hardware, argument);
    op::MANAGE_PCI_REMOVE: Hardware(hardware) => pci::manage_remove(caller, hardware, argument);
    op::MANAGE_PCI_ADD_EXT: Hardware(hardware) => pci::manage_add_extended(caller, hardware, argument);
    op::PCI_DEVICE_ADD: Hardware(hardware) => pci::device_add(caller, hardware, argument);
    op::PCI_DEVICE_REMOVE: Hardware(hardware) => pci::device_remove(caller, hardware, argument);
    op::PCI_MMCFG_RESERVED: Hardware(hardware) => pci::mmcfg_reserved(caller, hardware, argument);
    op::RESTORE_MSI: Hardware(hardware) => pci::restore_msi(caller, hardware, argument);
    op::RESTORE_MSI_EXT: Hardware(hardware) => pci::restore_msi_extended(caller, hardware, argument);
    op::PREPARE_MSIX: Hardware(hardware) => pci::prepare_msix(caller, hardware, argument);
    op::RELEASE_MSIX: Hardware(hardware) => pci::prepare_msix(caller, hardware, argument);
    op::DBGP_OP: Hardware(hardware) => pci::debug_port(caller, hardware, argument);
    op::FREE_IRQ_VECTOR: Refused => Errno::ENOSYS;
}

fn set_iopl(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let SetIopl { iopl } = caller.cpu.read(argument)?;
    let level = u8::try_from(iopl).ok().filter(|&level| level <= 3).ok_or(Errno::EINVAL)?;
    caller.cpu.set_iopl(level);
    Ok(0)
}

fn set_io_bitmap(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let request: SetIoBitmap = caller.cpu.read(argument)?;
    let bitmap = GuestVirt::new(request.bitmap);
    let length = u64::from(request.port_count.div_ceil(8));
    if request.port_count > IO_PORTS || !bitmap.is_guest_range(length) {
        return Err(Errno::EINVAL.into());
    }
    // The bitmap only restricts the domain's ports. A domain without devices has none.
    if caller.hardware().is_ok() {
        // Only this vCPU reads it.
        caller.vcpu.port_bitmap.0.store(bitmap.get(), Ordering::Relaxed);
        caller.vcpu.port_bitmap.1.store(request.port_count, Ordering::Relaxed);
    }
    Ok(0)
}

/// Checks that a request names the caller, since devices are not passed through to other domains.
fn check_own(caller: &Caller<'_>, domain: DomainId) -> Result<(), Errno> {
    let target = caller.target(domain)?;
    if target.id() == caller.domain.id() { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}
