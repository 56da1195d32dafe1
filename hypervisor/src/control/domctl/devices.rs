//! Permissions for ports, interrupts and memory of devices. Guests have none: removing a permission
//! succeeds, granting one is refused.

use abi::domctl::{AssignDevice, IoMemoryPermission, IoPortPermission, IrqPermission, device_kind, op};
use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::Arc;

use crate::call::CallResult;
use crate::control::Request;
use crate::domain::Domain;

const PORTS: u64 = 1 << 16;

fn permit(allow: u8) -> CallResult {
    if allow == 0 { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
}

/// Permission for an interrupt.
pub(super) fn irq_permission(request: &Request) -> CallResult {
    let IrqPermission { allow_access, .. } = request.argument();
    permit(allow_access)
}

/// Permission for I/O memory.
pub(super) fn io_memory_permission(request: &Request) -> CallResult {
    let IoMemoryPermission { first_mfn, frame_count, allow_access, .. } = request.argument();
    if first_mfn.checked_add(frame_count).is_none() || frame_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    permit(allow_access)
}

/// Permission for I/O ports.
pub(super) fn io_port_permission(request: &Request) -> CallResult {
    let IoPortPermission { first_port, port_count, allow_access, .. } = request.argument();
    if u64::from(first_port) + u64::from(port_count) > PORTS || port_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    permit(allow_access)
}

/// Assigns a device to a domain, or removes it. Both are refused, because without an IOMMU a device
/// can access all memory. Only the removal of a PCI device from quarantine (`DOMID_IO`) succeeds:
/// `xl pci-assignable-remove` returns the device to its driver only in this case.
pub(super) fn assign(request: &Request, target: Result<Arc<Domain>, Errno>) -> CallResult {
    if request.domain != DomainId::IO {
        target?;
        return Err(Errno::EOPNOTSUPP.into());
    }
    let AssignDevice { device_kind: kind, .. } = request.argument();
    match request.command {
        op::DEASSIGN_DEVICE if kind == device_kind::PCI => Ok(0),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
