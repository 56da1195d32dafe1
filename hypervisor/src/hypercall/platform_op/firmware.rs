//! `firmware_info`: what the firmware knew before Paravane took over.

use abi::errno::Errno;
use abi::platform::{FirmwareKeyboard, firmware};

use super::Request;
use crate::hardware;
use crate::hypercall::{CallResult, Caller};

pub(super) fn info(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut keyboard: FirmwareKeyboard = request.arguments()?;
    match keyboard.firmware_type {
        firmware::KBD_SHIFT_FLAGS if keyboard.index == 0 => {
            let hardware = hardware::of(caller.domain).ok_or(Errno::ESRCH)?;
            keyboard.shift_flags = hardware.keyboard_flags().ok_or(Errno::EOPNOTSUPP)?;
            request.answer(caller, &keyboard)
        }
        // None of these was asked of the BIOS while it could still answer.
        firmware::DISK_INFO | firmware::DISK_MBR_SIGNATURE | firmware::VBEDDC_INFO | firmware::KBD_SHIFT_FLAGS => {
            Err(Errno::ESRCH.into())
        }
        firmware::EFI_INFO => Err(Errno::ENOSYS.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}
