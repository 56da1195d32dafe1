//! The operations that only return information.

use core::sync::atomic::{AtomicBool, Ordering};

use abi::arch_x86_64::address;
use abi::errno::Errno;
use abi::memory::{E820Entry, MachphysMapping, MachphysMfnList, MemoryDomain, MemoryMap, e820_type, op};
use machine::addr::{GuestVirt, PAGE_SHIFT, PAGE_SIZE};
use machine::boot;
use machine::frames;
use machine::integers::saturating_u32;

use crate::call::{CallError, CallResult, Caller, ControlPrivilege};
use crate::guest_log::host_log;

/// Cost of returning a frame of the M2P, and a range of a memory map, in units of the budget.
const COST_OF_EXTENT: u32 = 4;
pub(super) const COST_OF_RANGE: u32 = 4;

/// `maximum_ram_page`: the number of the machine's last frame.
pub(super) fn maximum_ram_page() -> CallResult {
    Ok(frames::table_size().saturating_sub(1))
}

/// `current_reservation`, `maximum_reservation` and `maximum_gpfn`.
pub(super) fn reservation(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    let request: MemoryDomain = caller.cpu.read(argument)?;
    let target = caller.target(request.domain)?;
    Ok(match operation {
        op::CURRENT_RESERVATION => u64::from(target.frames.len()),
        op::MAXIMUM_RESERVATION => u64::from(target.max_frames()),
        _ => target.reported_pages().saturating_sub(1),
    })
}

/// `machphys_mfn_list`: returns the frames of the M2P, one per 2 MiB.
pub(super) fn machphys_mfn_list(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MachphysMfnList = caller.cpu.read(argument)?;
    let list = GuestVirt::new(request.extent_start);
    let wanted = usize::try_from(request.max_extents).unwrap_or(usize::MAX);
    let extents = || machine::m2p::frames().take(wanted);
    // There is one frame per GiB of memory, so one call returns all of them.
    let count = saturating_u32(extents().count());
    if !caller.budget.has_room(count * COST_OF_EXTENT) {
        return Err(CallError::again());
    }
    caller.budget.spend(count * COST_OF_EXTENT);
    for (index, frame) in (0..).zip(extents()) {
        caller.cpu.write_element(list, index, &frame.get())?;
    }
    request.extent_count = count;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// `machphys_compat_mfn_list`: returns no frames, since there are no 32-bit guests.
pub(super) fn machphys_compat_mfn_list(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MachphysMfnList = caller.cpu.read(argument)?;
    request.extent_count = 0;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// `machphys_mapping`: returns the location of the M2P in the guest's address space.
pub(super) fn machphys_mapping(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mapping = MachphysMapping {
        virtual_start: address::MACH2PHYS_START,
        virtual_end: address::MACH2PHYS_END,
        max_mfn: address::MACH2PHYS_ENTRIES - 1,
    };
    caller.cpu.write(argument, &mapping)?;
    Ok(0)
}

/// `memory_map`: returns the guest's E820 map, either as set by the tools or as a single range.
pub(super) fn memory_map(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MemoryMap = caller.cpu.read(argument)?;
    // All vCPUs of a guest may make this call at once, so the map is shared and not copied.
    let given = caller.domain.control.record().memory_map.clone();
    if given.is_none() && caller.domain.is_privileged() {
        // The initial domain uses the machine's map.
        note_guest_kernel();
        return Err(Errno::ENOSYS.into());
    }
    let size = u64::from(caller.domain.max_frames()) << PAGE_SHIFT;
    let usual = [E820Entry { address: 0, size, kind: e820_type::RAM }];
    let map = given.as_deref().unwrap_or(&usual);
    if request.entry_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    // As many entries as the buffer has room for.
    let mut written = 0;
    for entry in map.iter().take(request.entry_count as usize) {
        caller.budget.spend(COST_OF_RANGE);
        caller.cpu.write_element(GuestVirt::new(request.buffer), written.into(), entry)?;
        written += 1;
    }
    request.entry_count = written;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// Logs that the initial domain's kernel is unsuitable. Linux makes this call in the initial domain
/// only if it was built without `CONFIG_XEN_DOM0`. It then behaves like an unprivileged guest, has
/// no console and does not boot. Its ELF notes do not show this, so the call is the first sign.
fn note_guest_kernel() {
    static NOTED: AtomicBool = AtomicBool::new(false);
    if !NOTED.swap(true, Ordering::Relaxed) {
        host_log!(
            Error,
            "initial domain cannot work: its kernel supports unprivileged guests only (Linux without CONFIG_XEN_DOM0, like \
             Debian's linux-image-cloud-amd64); install one that supports the initial domain (linux-image-amd64)"
        );
    }
}

/// `machine_memory_map`: returns the machine's memory map as described by the firmware, with
/// Paravane's own device frames as reserved.
pub(super) fn machine_memory_map(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let mut request: MemoryMap = caller.cpu.read(argument)?;
    let own = boot::memory().own_devices().map(|frame| E820Entry {
        address: frame.address().get(),
        size: PAGE_SIZE as u64,
        kind: e820_type::RESERVED,
    });
    let firmware = boot::info().memory_map().iter().map(|range| E820Entry {
        address: range.start,
        size: range.end - range.start,
        kind: range.kind.e820(),
    });
    let mut count = 0;
    for entry in firmware.chain(own) {
        if count == request.entry_count {
            return Err(Errno::EINVAL.into());
        }
        caller.budget.spend(COST_OF_RANGE);
        caller.cpu.write_element(GuestVirt::new(request.buffer), count.into(), &entry)?;
        count += 1;
    }
    request.entry_count = count;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}
