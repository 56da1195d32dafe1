#![expect(unsafe_code, reason = "calls EFI firmware in ring 0")]
//! Calls of EFI's runtime services. The firmware runs with a root table of its own, which maps
//! Paravane's slots, and the firmware's regions at their physical addresses. `SetVirtualAddressMap`
//! is never called.

use core::arch::asm;

use super::{Service, status};
use crate::address_space::early::Early;
use crate::address_space::tables::{self, Mapper};
use crate::boot::{BootInfo, Efi, EfiRange, RuntimeTable};
use crate::once::Once;
use crate::speculation::MaskedIndex;

/// The data that calls need.
struct Runtime {
    root: u64,
    table: RuntimeTable,
}

static RUNTIME: Once<Runtime> = Once::new();

/// Builds the root table, once Paravane's slots are complete.
pub(crate) fn init(info: &BootInfo, efi: &Efi, mapper: &Mapper, memory: &mut Early) {
    let Some(table) = &efi.runtime else {
        return log::warn!("EFI runtime services cannot be used: invalid table or memory map");
    };
    let mut firmware = mapper.with_same_slots(memory);
    for range in info.efi_runtime() {
        firmware.map(memory, range.start, range.start, range.end - range.start, flags(&firmware, range));
    }
    log::debug!("EFI runtime services {:#x} in {} regions", table.revision, info.efi_runtime().len());
    RUNTIME.set(Runtime { root: firmware.root(), table: table.clone() });
}

/// Flags of a region. Code is writable too, unless the firmware marks it read-only, because it
/// contains the firmware's variables.
fn flags(mapper: &Mapper, range: &EfiRange) -> u64 {
    let mut flags = if range.is_executable() { tables::PRESENT | tables::WRITABLE } else { mapper.data() };
    if range.is_read_only() {
        flags &= !tables::WRITABLE;
    }
    if range.is_cached() { flags } else { flags | tables::UNCACHED }
}

pub(crate) fn revision() -> Option<u32> {
    RUNTIME.try_get().map(|runtime| runtime.table.revision)
}

/// Calls a service. No vCPU may be loaded.
pub(crate) fn call(service: Service<'_>) -> u64 {
    let Some(Runtime { root, table }) = RUNTIME.try_get() else { return status::UNSUPPORTED };
    let (function, arguments) = match service {
        Service::GetTime { time, capabilities } => (0, [out(time), out(capabilities), 0, 0, 0]),
        Service::SetTime { time } => (1, [input(time), 0, 0, 0, 0]),
        Service::GetWakeupTime { enabled, pending, time } => (2, [out(enabled), out(pending), out(time), 0, 0]),
        Service::SetWakeupTime { enable, time } => (3, [enable.into(), time.map_or(0, input), 0, 0, 0]),
        Service::GetVariable { name, vendor, attributes, size, data } => {
            let name = name.characters().as_ptr() as u64;
            (6, [name, input(vendor), out(attributes), out(size), data.as_mut_ptr() as u64])
        }
        Service::GetNextVariableName { size, name, vendor } => {
            (7, [out(size), name.as_mut_ptr() as u64, out(vendor), 0, 0])
        }
        Service::SetVariable { name, vendor, attributes, data } => {
            let (name, size) = (name.characters().as_ptr() as u64, data.len() as u64);
            (8, [name, input(vendor), attributes.into(), size, data.as_ptr() as u64])
        }
        Service::GetNextHighMonotonicCount { count } => (9, [out(count), 0, 0, 0, 0]),
        Service::QueryVariableInfo { attributes, maximum, remaining, largest } => {
            (13, [attributes.into(), out(maximum), out(remaining), out(largest), 0])
        }
    };
    match table.functions.masked(function) {
        // SAFETY: the function is the table's function for this service, and the arguments are
        // those that UEFI specifies: pointers made from the references of `service`, which live as
        // long as the call.
        Some(&address) if address != 0 => unsafe { enter(*root, address, &arguments) },
        _ => status::UNSUPPORTED,
    }
}

fn out<T>(place: &mut T) -> u64 {
    core::ptr::from_mut(place) as u64
}

fn input<T>(place: &T) -> u64 {
    core::ptr::from_ref(place) as u64
}

/// Calls a firmware function with up to five arguments, in its root table, with initialised
/// floating-point state and interrupts enabled.
///
/// # Safety
/// The function must accept these arguments, and write to Paravane's memory only through them.
unsafe fn enter(root: u64, function: u64, arguments: &[u64; 5]) -> u64 {
    let [first, second, third, fourth, fifth] = *arguments;
    let control: u32 = 0x1f80;
    let status;
    // SAFETY: the root maps Paravane's slots as every root does, so code, stack and arguments stay
    // mapped. No lock is held and no vCPU is loaded, so interrupts may be enabled and the
    // floating-point registers may be changed. The stack follows the calling convention (UEFI 2.10,
    // 2.3.4: room for four registers below the fifth argument, aligned to 16), and the firmware
    // preserves r12 and r13.
    unsafe {
        asm!(
            "fninit",
            "ldmxcsr [{control}]",
            "mov r12, rsp",
            "mov r13, cr3",
            "and rsp, -16",
            "sub rsp, 48",
            "mov [rsp + 32], rax",
            "mov cr3, r10",
            "sti",
            "call __x86_indirect_thunk_r11",
            "cli",
            "cld",
            "mov cr3, r13",
            "mov rsp, r12",
            control = in(reg) &raw const control,
            inlateout("rax") fifth => status,
            inlateout("rcx") first => _,
            inlateout("rdx") second => _,
            inlateout("r8") third => _,
            inlateout("r9") fourth => _,
            inlateout("r10") root => _,
            inlateout("r11") function => _,
            lateout("r12") _,
            lateout("r13") _,
        );
    }
    status
}
