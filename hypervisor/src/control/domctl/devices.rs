//! Rights to ports, interrupts and memory of devices: a guest has none, so there are none to be taken away, and none to give.

use abi::domctl::{IoMemoryPermission, IoPortPermission, IrqPermission};
use abi::errno::Errno;

use crate::control::Request;
use crate::hypercall::CallResult;

const PORTS: u64 = 1 << 16;

fn permit(allow: u8) -> CallResult {
    if allow == 0 { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
}

/// Interrupts.
pub(super) fn irq_permission(request: &Request) -> CallResult {
    let IrqPermission { allow_access, .. } = request.argument();
    permit(allow_access)
}

/// Memory.
pub(super) fn io_memory_permission(request: &Request) -> CallResult {
    let IoMemoryPermission { first_mfn, frame_count, allow_access, .. } = request.argument();
    if first_mfn.checked_add(frame_count).is_none() || frame_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    permit(allow_access)
}

/// Ports.
pub(super) fn io_port_permission(request: &Request) -> CallResult {
    let IoPortPermission { first_port, port_count, allow_access, .. } = request.argument();
    if u64::from(first_port) + u64::from(port_count) > PORTS || port_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    permit(allow_access)
}
