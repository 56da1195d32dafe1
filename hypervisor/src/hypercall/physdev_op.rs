//! `physdev_op`: interrupts and ports of physical devices (public header `physdev.h`). A domain without devices has none; what
//! remains to it is its own I/O privilege level.

use abi::errno::Errno;
use abi::physdev::{IrqVector, SetIoBitmap, SetIopl, op};
use machine::addr::GuestVirt;

use super::{CallResult, Caller};

const IO_PORTS: u32 = 1 << 16;

/// Performs the operation; the initial domain's own are not there yet.
pub fn physdev_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::SET_IOPL => {
            let SetIopl { iopl } = caller.cpu.read(argument)?;
            let level = u8::try_from(iopl).ok().filter(|&level| level <= 3).ok_or(Errno::EINVAL)?;
            caller.cpu.set_iopl(level);
            Ok(0)
        }
        op::SET_IOBITMAP => {
            // The bitmap could only narrow what the domain's ports allow: none.
            let request: SetIoBitmap = caller.cpu.read(argument)?;
            let length = u64::from(request.port_count.div_ceil(8));
            let is_legal = request.port_count <= IO_PORTS && GuestVirt::new(request.bitmap).is_guest_range(length);
            if is_legal { Ok(0) } else { Err(Errno::EINVAL.into()) }
        }
        _ if caller.domain.is_privileged() => Err(Errno::ENOSYS.into()),
        op::ALLOC_IRQ_VECTOR => {
            // The interface has given this one up: the vector is the number asked for.
            let mut request: IrqVector = caller.cpu.read(argument)?;
            request.vector = request.irq;
            caller.cpu.write(argument, &request)?;
            Ok(0)
        }
        // there are no physical interrupts that could be asked about, acknowledged or had
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::CallError;
    use crate::testing::Guest;

    #[test]
    fn a_guest_without_devices_has_its_privilege_level_and_no_more() {
        let mut guest = Guest::new(1, 2);
        let level = guest.put(&SetIopl { iopl: 3 });
        assert!(matches!(physdev_op(&mut guest.caller(), op::SET_IOPL, level), Ok(0)));
        assert_eq!(guest.caller().cpu.context().iopl(), 3);
        let level = guest.put(&SetIopl { iopl: 4 });
        for (operation, errno) in [
            (op::SET_IOPL, Errno::EINVAL),
            (op::EOI, Errno::EINVAL),
            (op::MAP_PIRQ, Errno::EPERM),
            (op::PCI_DEVICE_ADD, Errno::EPERM),
            (0, Errno::ENOSYS),
            (u32::MAX, Errno::ENOSYS),
        ] {
            let result = physdev_op(&mut guest.caller(), operation, level);
            assert!(matches!(result, Err(CallError::Errno(found)) if found == errno), "{operation}: {result:?}");
        }
        let result = physdev_op(&mut guest.caller(), op::SET_IOPL, GuestVirt::new(0));
        assert!(matches!(result, Err(CallError::Errno(Errno::EFAULT))));
        let bitmap = guest.put(&SetIoBitmap { bitmap: 0, port_count: IO_PORTS + 1, _pad: 0 });
        let result = physdev_op(&mut guest.caller(), op::SET_IOBITMAP, bitmap);
        assert!(matches!(result, Err(CallError::Errno(Errno::EINVAL))));
    }
}
