//! `physdev_op`: interrupts and ports of physical devices (public header `physdev.h`). A domain without devices has none; what
//! remains to it is its own I/O privilege level.

mod interrupts;
mod pci;
#[cfg(test)]
mod tests;

use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::physdev::{IrqVector, SetIoBitmap, SetIopl, op};
use abi::xen::DomainId;
use machine::addr::GuestVirt;
use machine::hardware::Hardware;

use crate::call::{CallError, CallResult, Caller};
use crate::hardware;
use crate::limits::{self, Limit};

const IO_PORTS: u32 = 1 << 16;

/// Performs the operation.
pub(crate) fn physdev_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::SET_IOPL => {
            let SetIopl { iopl } = caller.cpu.read(argument)?;
            let level = u8::try_from(iopl).ok().filter(|&level| level <= 3).ok_or(Errno::EINVAL)?;
            caller.cpu.set_iopl(level);
            Ok(0)
        }
        op::SET_IOBITMAP => {
            let request: SetIoBitmap = caller.cpu.read(argument)?;
            let bitmap = GuestVirt::new(request.bitmap);
            let length = u64::from(request.port_count.div_ceil(8));
            if request.port_count > IO_PORTS || !bitmap.is_guest_range(length) {
                return Err(Errno::EINVAL.into());
            }
            // It could only narrow what the domain's ports allow; one without devices has none.
            if hardware::of(caller.domain).is_some() {
                // Only this vCPU's own instructions look at it.
                caller.vcpu.port_bitmap.0.store(bitmap.get(), Ordering::Relaxed);
                caller.vcpu.port_bitmap.1.store(request.port_count, Ordering::Relaxed);
            }
            Ok(0)
        }
        _ => match hardware::of(caller.domain) {
            Some(hardware) => {
                let result = of_hardware_domain(caller, hardware, operation, argument);
                if matches!(result, Err(CallError::Errno(Errno::ENOSPC))) {
                    limits::met(caller.domain, Limit::InterruptMessages);
                }
                result
            }
            None => without_devices(caller, operation, argument),
        },
    }
}

/// What an operation of the hardware domain costs, in units of the budget. Most reach for a
/// device's configuration space, or for the I/O APICs, which are slow.
const fn cost(operation: u32) -> u32 {
    match operation {
        op::EOI | op::IRQ_STATUS_QUERY | op::ALLOC_IRQ_VECTOR => 8,
        _ => 512,
    }
}

fn of_hardware_domain(
    caller: &mut Caller<'_>,
    hardware: &'static Hardware,
    operation: u32,
    argument: GuestVirt,
) -> CallResult {
    caller.budget.spend(cost(operation));
    match operation {
        op::EOI => interrupts::eoi(caller, hardware, argument),
        op::IRQ_STATUS_QUERY => interrupts::status_query(caller, hardware, argument),
        op::PIRQ_EOI_GMFN_V1 | op::PIRQ_EOI_GMFN_V2 => interrupts::eoi_page(caller, hardware, argument),
        op::APIC_READ => interrupts::apic_read(caller, hardware, argument),
        op::APIC_WRITE => interrupts::apic_write(caller, hardware, argument),
        op::ALLOC_IRQ_VECTOR => interrupts::alloc_vector(caller, hardware, argument),
        op::MAP_PIRQ => interrupts::map_pirq(caller, hardware, argument),
        op::UNMAP_PIRQ => interrupts::unmap_pirq(caller, hardware, argument),
        op::SETUP_GSI => interrupts::setup_gsi(caller, hardware, argument),
        op::GET_FREE_PIRQ => interrupts::get_free_pirq(caller, hardware, argument),
        op::MANAGE_PCI_ADD => pci::manage_add(caller, hardware, argument),
        op::MANAGE_PCI_REMOVE => pci::manage_remove(caller, argument),
        op::MANAGE_PCI_ADD_EXT => pci::manage_add_extended(caller, hardware, argument),
        op::PCI_DEVICE_ADD => pci::device_add(caller, hardware, argument),
        op::PCI_DEVICE_REMOVE => pci::device_remove(caller, argument),
        op::PCI_MMCFG_RESERVED => pci::mmcfg_reserved(caller, hardware, argument),
        op::RESTORE_MSI => pci::restore_msi(caller, hardware, argument),
        op::RESTORE_MSI_EXT => pci::restore_msi_extended(caller, hardware, argument),
        op::PREPARE_MSIX => pci::prepare_msix(caller, hardware, argument),
        op::RELEASE_MSIX => pci::prepare_msix(caller, hardware, argument),
        op::DBGP_OP => pci::debug_port(caller, argument),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// There are no physical interrupts that could be asked about, acknowledged or had.
fn without_devices(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::ALLOC_IRQ_VECTOR => {
            // The interface has given this one up: the vector is the number asked for.
            let mut request: IrqVector = caller.cpu.read(argument)?;
            request.vector = request.irq;
            caller.cpu.write(argument, &request)?;
            Ok(0)
        }
        op::EOI | op::IRQ_STATUS_QUERY => Err(Errno::EINVAL.into()),
        op::GET_FREE_PIRQ => Err(Errno::ENOSPC.into()),
        op::APIC_READ
        | op::APIC_WRITE
        | op::MAP_PIRQ
        | op::UNMAP_PIRQ
        | op::MANAGE_PCI_ADD
        | op::MANAGE_PCI_REMOVE
        | op::MANAGE_PCI_ADD_EXT
        | op::RESTORE_MSI
        | op::RESTORE_MSI_EXT
        | op::SETUP_GSI
        | op::PCI_MMCFG_RESERVED
        | op::PCI_DEVICE_ADD
        | op::PCI_DEVICE_REMOVE
        | op::PREPARE_MSIX
        | op::RELEASE_MSIX
        | op::DBGP_OP => Err(Errno::EPERM.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Interrupts can be had by the hardware domain itself; giving devices to others is not supported.
fn check_own(caller: &Caller<'_>, domain: DomainId) -> Result<(), Errno> {
    let target = caller.target(domain)?;
    if target.id() == caller.domain.id() { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}
