//! Operations of the control domain on another domain's memory, except reservations.

use abi::errno::Errno;
use abi::memory::{AcquireResource, E820Entry, ForeignMemoryMap, Reservation, resource};
use alloc::sync::Arc;
use machine::addr::GuestVirt;
use machine::heap;

use super::information::COST_OF_RANGE;
use crate::call::{CallError, CallResult, Caller, ControlPrivilege};
use crate::limits::{self, Limit};
use crate::memory::claim;

/// Maximum number of ranges in a guest's memory map.
pub(crate) const MAX_RANGES: u32 = 128;

/// `claim_pages`: claims frames for a domain.
pub(super) fn claim_pages(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let wanted: Reservation = caller.cpu.read(argument)?;
    if wanted.extent_start != 0 || wanted.extent_order != 0 || wanted.memory_flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    claim::stake(&*caller.target(wanted.domain)?, wanted.extent_count)?;
    Ok(0)
}

/// `set_memory_map`: sets the memory map that a guest sees.
pub(super) fn set_memory_map(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let wanted: ForeignMemoryMap = caller.cpu.read(argument)?;
    if wanted.map.entry_count > MAX_RANGES {
        limits::met(caller.domain, Limit::MemoryMapEntries);
        return Err(Errno::EINVAL.into());
    }
    let target = caller.target(wanted.domain)?;
    caller.budget.spend(wanted.map.entry_count * COST_OF_RANGE);
    if heap::is_short() {
        return Err(Errno::ENOMEM.into());
    }
    let list = GuestVirt::new(wanted.map.buffer);
    let ranges = (0..wanted.map.entry_count.into()).map(|index| caller.cpu.read_element(list, index));
    let ranges = ranges.collect::<Result<Arc<[E820Entry]>, _>>()?;
    let former = core::mem::replace(&mut target.control.record().memory_map, (!ranges.is_empty()).then_some(ranges));
    drop(former);
    Ok(0)
}

/// `acquire_resource`: returns the frames of a domain's grant table, so that the tools can write
/// its first entries.
pub(super) fn acquire_resource(caller: &mut Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let mut wanted: AcquireResource = caller.cpu.read(argument)?;
    if wanted._pad != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = caller.target(wanted.domain)?;
    if u32::from(wanted.resource_type) != resource::GRANT_TABLE {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if wanted.id != resource::GRANT_TABLE_ID_SHARED {
        return Err(Errno::EINVAL.into());
    }
    let most = target.grants.most_frames();
    if wanted.frame_count == 0 {
        if wanted.frame != 0 {
            return Err(Errno::EINVAL.into());
        }
        wanted.frame_count = most;
        caller.cpu.write(argument, &wanted)?;
        return Ok(0);
    }
    let end = wanted.frame.checked_add(wanted.frame_count.into()).and_then(|end| u32::try_from(end).ok());
    let end = end.filter(|&end| end <= most && !target.is_dying()).ok_or(Errno::EINVAL)?;
    if !target.grants.grow(end, &mut caller.budget).map_err(Errno::from)? {
        return Err(CallError::again());
    }
    for (index, frame) in (0..wanted.frame_count).zip(u32::try_from(wanted.frame).unwrap_or(end)..end) {
        let frame = target.grants.frame(frame).ok_or(Errno::EINVAL)?;
        caller.cpu.write_element(GuestVirt::new(wanted.frame_list), index.into(), &frame.get())?;
    }
    Ok(0)
}
