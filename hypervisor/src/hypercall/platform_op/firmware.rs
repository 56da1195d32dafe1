//! `firmware_info`: information that the firmware provided at boot.

use abi::errno::Errno;
use abi::platform::{
    FirmwareEfiConfiguration, FirmwareEfiMemory, FirmwareEfiVendor, FirmwareEfiVersion, FirmwareKeyboard, firmware,
    firmware_efi,
};
use machine::addr::GuestVirt;
use machine::boot::{self, Efi, MemoryKind};

use super::Request;
use crate::call::{CallResult, Caller};
use crate::hardware;

pub(super) fn info(caller: &Caller<'_>, request: &mut Request) -> CallResult {
    let mut keyboard: FirmwareKeyboard = request.arguments()?;
    match keyboard.firmware_type {
        firmware::KBD_SHIFT_FLAGS if keyboard.index == 0 => {
            let hardware = hardware::of(caller.domain).ok_or(Errno::ESRCH)?;
            keyboard.shift_flags = hardware.keyboard_flags().ok_or(Errno::EOPNOTSUPP)?;
            request.answer(caller, &keyboard)
        }
        // These were not requested from the BIOS while it was available.
        firmware::DISK_INFO | firmware::DISK_MBR_SIGNATURE | firmware::VBEDDC_INFO | firmware::KBD_SHIFT_FLAGS => {
            Err(Errno::ESRCH.into())
        }
        firmware::EFI_INFO => efi_info(caller, request, boot::efi().ok_or(Errno::ENOSYS)?, keyboard.index),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Converts a kind of memory to EFI's type (UEFI 2.10, 7.2), as far as the boot loader's map
/// distinguishes them.
const fn efi_kind(kind: MemoryKind) -> u32 {
    match kind {
        MemoryKind::Usable => 7,
        MemoryKind::Unusable => 8,
        MemoryKind::AcpiReclaimable => 9,
        MemoryKind::AcpiNvs => 10,
        MemoryKind::Reserved => 0,
    }
}

/// Returns information about EFI.
fn efi_info(caller: &Caller<'_>, request: &mut Request, efi: &Efi, index: u32) -> CallResult {
    match index {
        firmware_efi::VERSION => {
            let mut arguments: FirmwareEfiVersion = request.arguments()?;
            arguments.version = efi.revision;
            request.answer(caller, &arguments)
        }
        firmware_efi::CONFIG_TABLE => {
            let mut arguments: FirmwareEfiConfiguration = request.arguments()?;
            (arguments.address, arguments.entry_count) = (efi.tables, efi.table_count);
            request.answer(caller, &arguments)
        }
        firmware_efi::VENDOR => {
            let mut arguments: FirmwareEfiVendor = request.arguments()?;
            arguments.revision = efi.firmware_revision;
            let place = GuestVirt::new(arguments.name);
            // As much of the name as fits, with a terminating zero.
            let room = (arguments.buffer_size / 2) as usize;
            let characters = efi.vendor.iter().take(room.saturating_sub(1)).chain([&0]).take(room);
            for (character, at) in characters.zip(0..) {
                caller.cpu.write_element(place, at, character)?;
            }
            request.answer(caller, &arguments)
        }
        firmware_efi::MEM_INFO => {
            let mut arguments: FirmwareEfiMemory = request.arguments()?;
            // The boot loader's map does not contain the memory of the runtime services.
            let mut runtime = boot::info().efi_runtime().iter();
            if let Some(range) = runtime.find(|range| (range.start..range.end).contains(&arguments.address)) {
                (arguments.address, arguments.size) = (range.start, range.end - range.start);
                (arguments.attributes, arguments.kind) = (range.attributes, range.kind);
                return request.answer(caller, &arguments);
            }
            let mut map = boot::info().memory_map().iter();
            let range = map.find(|range| (range.start..range.end).contains(&arguments.address)).ok_or(Errno::ENOENT)?;
            (arguments.address, arguments.size) = (range.start, range.end - range.start);
            (arguments.attributes, arguments.kind) = (0, efi_kind(range.kind));
            request.answer(caller, &arguments)
        }
        firmware_efi::RT_VERSION => {
            let hardware = hardware::of(caller.domain).ok_or(Errno::EOPNOTSUPP)?;
            let mut arguments: FirmwareEfiVersion = request.arguments()?;
            arguments.version = hardware.runtime_services().ok_or(Errno::EOPNOTSUPP)?;
            request.answer(caller, &arguments)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
