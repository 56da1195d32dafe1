//! `physdev_op` of a domain without devices.

use super::*;
use crate::call::CallError;
use crate::testing::Guest;

#[test]
fn a_guest_without_devices_can_only_set_its_privilege_level() {
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
