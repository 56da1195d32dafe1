//! Allocation and release of a domain's frames: the calls of the balloon driver. Each returns the
//! number of completed extents. Running out of memory is not an error.

use abi::errno::Errno;
use abi::memory::{Reservation, op};
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn, PAGE_SHIFT, Pfn};
use machine::frames::{self, Extent};
use machine::integers::low_u8;
use machine::m2p;

use super::{EXTENT_SHIFT, continue_from};
use crate::call::{CallResult, Caller};
use crate::domain::Domain;
use crate::limits::{self, Limit};
use crate::memory::{claim, mmuext};

/// The flag bits that limit addresses; zero means no limit.
const ADDRESS_BITS: u32 = 0xff;

/// The largest order of an extent: 2 MiB, which Linux and the tools use. An extent is cleared
/// without an interrupt window.
pub(crate) const MAX_ORDER: u32 = 9;
/// Cost of allocating and clearing a frame, and of releasing one, in units of the budget.
pub(super) const COST_OF_NEW: u32 = 32;
const COST_OF_OLD: u32 = 8;

/// Performs `increase_reservation`, `decrease_reservation` or `populate_physmap`, from extent
/// `start` on.
pub(super) fn change(caller: &mut Caller<'_>, operation: u32, start: u64, argument: GuestVirt) -> CallResult {
    // The result is only the number of completed extents, even if the call could not start.
    let Ok(reservation) = caller.cpu.read::<Reservation>(argument) else { return Ok(start) };
    if start >= reservation.extent_count {
        return Ok(start);
    }
    // The command of a restarted call contains the number of completed extents.
    if reservation.extent_count > u64::MAX >> EXTENT_SHIFT {
        return Ok(start);
    }
    let Ok(target) = caller.target(reservation.domain) else { return Ok(start) };
    if reservation.extent_order > MAX_ORDER {
        limits::met(caller.domain, Limit::ExtentOrder);
        return Ok(start);
    }
    let cost =
        if operation == op::DECREASE_RESERVATION { COST_OF_OLD } else { COST_OF_NEW } << reservation.extent_order;
    for index in start..reservation.extent_count {
        if !caller.budget.has_room(cost) {
            return Err(continue_from(operation, index));
        }
        caller.budget.spend(cost);
        let done = match operation {
            op::DECREASE_RESERVATION => decrease(caller, &target, &reservation, index),
            op::POPULATE_PHYSMAP => populate(caller, &target, &reservation, index),
            _ => increase(caller, &target, &reservation, index),
        };
        // A lack of memory or a bad frame ends the call. The extents before it count.
        if done.is_err() {
            return Ok(index);
        }
    }
    Ok(reservation.extent_count)
}

fn list(reservation: &Reservation) -> GuestVirt {
    GuestVirt::new(reservation.extent_start)
}

fn decrease(caller: &mut Caller<'_>, target: &Domain, reservation: &Reservation, index: u64) -> Result<(), Errno> {
    let first: u64 = caller.cpu.read_element(list(reservation), index)?;
    for offset in 0..1u64 << reservation.extent_order {
        let mfn = Mfn::new(first.checked_add(offset).ok_or(Errno::EINVAL)?);
        give_up(target, mfn)?;
    }
    Ok(())
}

/// Ends the domain's ownership of a frame, which becomes free when the last reference is dropped.
fn give_up(target: &Domain, mfn: Mfn) -> Result<(), Errno> {
    let frame = target.frame(mfn).ok_or(Errno::EINVAL)?;
    let allocation = target.frames.remove(&frame).ok_or(Errno::EINVAL)?;
    // The pin is released after the frame has left the list: a concurrent pin then fails to find it
    // there.
    mmuext::release_pin(&frame);
    frames::set_number(mfn, m2p::INVALID);
    drop(allocation);
    Ok(())
}

/// Allocates frames for the domain.
///
/// # Errors
/// `ENOMEM` if the domain may not own them, or there are no suitable free frames that are not
/// claimed by others.
fn allocate(caller: &Caller<'_>, target: &Domain, wanted: &Reservation) -> Result<Extent, Errno> {
    let address_bits = address_bits(caller.domain, wanted)?;
    // The order is at most `MAX_ORDER`.
    let order = low_u8(wanted.extent_order.into());
    if !target.may_own(1 << order) {
        return Err(Errno::ENOMEM);
    }
    let block = claim::take(target, order, address_bits).ok_or(Errno::ENOMEM)?;
    Ok(block.give_to(target.id()))
}

/// The maximum number of address bits of new frames. Frames with short addresses are reserved for
/// domains with devices: other domains could use them up, and the hardware domain's drivers would
/// fail.
///
/// # Errors
/// `ENOMEM` if a domain without devices requests fewer bits than all memory needs.
pub(super) fn address_bits(caller: &Domain, wanted: &Reservation) -> Result<u32, Errno> {
    let all = PAGE_SHIFT + (u64::BITS - (frames::table_size().saturating_sub(1)).leading_zeros());
    match wanted.memory_flags & ADDRESS_BITS {
        0 => Ok(u64::BITS),
        bits if bits >= all || caller.is_privileged() => Ok(bits),
        _ => Err(Errno::ENOMEM),
    }
}

/// Adds the frames to the domain.
///
/// # Errors
/// `ENOMEM` if concurrent additions have used up the domain's limit, or if it is being destroyed.
fn give(target: &Domain, extent: Extent) -> Result<(), Errno> {
    let count = extent.len() as u64;
    if !target.frames.push_within(extent, target.max_frames()) {
        return Err(Errno::ENOMEM);
    }
    claim::note_taken(target, count);
    Ok(())
}

fn increase(caller: &mut Caller<'_>, target: &Arc<Domain>, reservation: &Reservation, index: u64) -> Result<(), Errno> {
    let extent = allocate(caller, target, reservation)?;
    let first = extent.first().map_or(0, Mfn::get);
    if reservation.extent_start != 0 {
        caller.cpu.write_element(list(reservation), index, &first)?;
    }
    give(target, extent)
}

fn populate(caller: &mut Caller<'_>, target: &Arc<Domain>, reservation: &Reservation, index: u64) -> Result<(), Errno> {
    let pfn: u64 = caller.cpu.read_element(list(reservation), index)?;
    let extent = allocate(caller, target, reservation)?;
    let first = extent.first().map_or(0, Mfn::get);
    caller.cpu.write_element(list(reservation), index, &first)?;
    for offset in 0..extent.len() as u64 {
        frames::set_number(Mfn::new(first + offset), Pfn::new(pfn.wrapping_add(offset)));
    }
    give(target, extent)
}
