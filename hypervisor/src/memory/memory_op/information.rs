//! The operations that only tell.

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

/// What it costs to tell a frame of the M2P, and a range of a memory map.
const COST_OF_EXTENT: u32 = 4;
pub(super) const COST_OF_RANGE: u32 = 4;

/// The number of the last frame of the machine's memory.
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
        // A PV guest numbers its frames itself and says in `shared_info` how far.
        _ => target
            .shared_info()
            .atomic_u64(core::mem::offset_of!(abi::xen::SharedInfo, arch))
            .load(Ordering::Relaxed)
            .saturating_sub(1),
    })
}

/// The frames of the M2P itself, 2 MiB apart.
pub(super) fn machphys_mfn_list(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MachphysMfnList = caller.cpu.read(argument)?;
    let list = GuestVirt::new(request.extent_start);
    let wanted = usize::try_from(request.max_extents).unwrap_or(usize::MAX);
    let extents = || machine::m2p::frames().take(wanted);
    // There is one for each GiB of memory, so all of them can be told at a time.
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

/// The frames of a 32-bit guest's M2P: there is none.
pub(super) fn machphys_compat_mfn_list(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MachphysMfnList = caller.cpu.read(argument)?;
    request.extent_count = 0;
    caller.cpu.write(argument, &request)?;
    Ok(0)
}

/// Where the M2P lies in the guest's address space.
pub(super) fn machphys_mapping(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mapping = MachphysMapping {
        virtual_start: address::MACH2PHYS_START,
        virtual_end: address::MACH2PHYS_END,
        max_mfn: address::MACH2PHYS_ENTRIES - 1,
    };
    caller.cpu.write(argument, &mapping)?;
    Ok(0)
}

/// The guest's memory as E820 would show it: the map that the tools have given it, or one range.
pub(super) fn memory_map(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let mut request: MemoryMap = caller.cpu.read(argument)?;
    // A guest may make this call on all its vCPUs at once: what it is told is not copied for each.
    let given = caller.domain.control.record().memory_map.clone();
    if given.is_none() && caller.domain.is_privileged() {
        // The initial domain has the machine's.
        note_guest_kernel();
        return Err(Errno::ENOSYS.into());
    }
    let size = u64::from(caller.domain.max_frames()) << PAGE_SHIFT;
    let usual = [E820Entry { address: 0, size, kind: e820_type::RAM }];
    let map = given.as_deref().unwrap_or(&usual);
    if request.entry_count == 0 {
        return Err(Errno::EINVAL.into());
    }
    // As many as there is room for.
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

/// Linux asks for a guest's memory map in the initial domain, and so early that nothing of it has
/// been seen yet, only if it is built without `CONFIG_XEN_DOM0`. It takes itself for an
/// unprivileged guest then, has no console, and never comes up. Its notes do not tell.
fn note_guest_kernel() {
    static NOTED: AtomicBool = AtomicBool::new(false);
    if !NOTED.swap(true, Ordering::Relaxed) {
        host_log!(
            Error,
            "initial domain cannot work: its kernel takes itself for a guest's (Linux without CONFIG_XEN_DOM0, as \
             Debian's linux-image-cloud-amd64); install one that can be an initial domain's (linux-image-amd64)"
        );
    }
}

/// The machine's memory as the firmware describes it, and what Paravane keeps for itself as reserved.
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
