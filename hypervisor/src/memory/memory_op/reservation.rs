//! Giving frames back and getting new ones: the balloon driver's calls. Each reports how many extents it has done, and a shortage
//! is no error.

use abi::errno::Errno;
use abi::memory::{Reservation, op};
use alloc::sync::Arc;
use alloc::vec::Vec;
use machine::addr::{GuestVirt, Mfn, Pfn};
use machine::frames::{self, Allocation};
use machine::m2p;

use super::{EXTENT_SHIFT, continue_from};
use crate::domain::Domain;
use crate::hypercall::{CallResult, Caller};
use crate::memory::{claim, mmuext};

/// The part of the flags that limits addresses; zero means no limit.
const ADDRESS_BITS: u32 = 0xff;

/// The largest extent that an unprivileged domain may ask for: 4 MiB would fragment the host, 2 MiB is what Linux uses.
const MAX_GUEST_ORDER: u32 = 9;
/// The largest extent that the initial domain may ask for.
const MAX_CONTROL_ORDER: u32 = 12;

/// Performs `increase_reservation`, `decrease_reservation` or `populate_physmap` from extent `start` on.
pub(super) fn change(caller: &mut Caller<'_>, operation: u32, start: u64, argument: GuestVirt) -> CallResult {
    // The result says how far the call came, and nothing else: also where it could not begin.
    let Ok(reservation) = caller.cpu.read::<Reservation>(argument) else { return Ok(start) };
    if start >= reservation.extent_count {
        return Ok(start);
    }
    // The number of extents done is part of a continued command.
    if reservation.extent_count > u64::MAX >> EXTENT_SHIFT {
        return Ok(start);
    }
    let Ok(target) = caller.target(reservation.domain) else { return Ok(start) };
    let limit = if caller.domain.is_privileged() { MAX_CONTROL_ORDER } else { MAX_GUEST_ORDER };
    if reservation.extent_order > limit {
        return Ok(start);
    }
    for index in start..reservation.extent_count {
        if caller.budget.is_exhausted() && index != start {
            return Err(continue_from(operation, index));
        }
        let done = match operation {
            op::DECREASE_RESERVATION => decrease(caller, &target, &reservation, index),
            op::POPULATE_PHYSMAP => populate(caller, &target, &reservation, index),
            _ => increase(caller, &target, &reservation, index),
        };
        // A shortage or a bad frame ends the call; the extents before it count.
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
        caller.budget.spend(8);
        let mfn = Mfn::new(first.checked_add(offset).ok_or(Errno::EINVAL)?);
        give_up(target, mfn)?;
    }
    Ok(())
}

/// Ends the domain's ownership of a frame; it is free when nothing refers to it any more.
fn give_up(target: &Domain, mfn: Mfn) -> Result<(), Errno> {
    let frame = target.frame(mfn).ok_or(Errno::EINVAL)?;
    let allocation = target.frames.remove(&frame).ok_or(Errno::EINVAL)?;
    // In this order: a pin that is made meanwhile finds the frame gone from the list.
    mmuext::release_pin(&frame);
    m2p::set(mfn, m2p::INVALID);
    drop(allocation);
    Ok(())
}

/// New frames for the domain, if it may have that many more.
///
/// # Errors
/// `ENOMEM` if it may not, or there are none, or they are set aside for others.
fn allocate(caller: &mut Caller<'_>, target: &Domain, wanted: &Reservation) -> Result<Vec<Allocation>, Errno> {
    let address_bits = address_bits(wanted);
    let order = u8::try_from(wanted.extent_order).map_err(|_| Errno::EINVAL)?;
    let wanted = 1u32 << order;
    caller.budget.spend(wanted.saturating_mul(32));
    if !target.may_own(wanted) || !claim::may_take(target, wanted.into()) {
        return Err(Errno::ENOMEM);
    }
    frames::allocate_addressable(order, target.id(), address_bits).ok_or(Errno::ENOMEM)
}

/// How many bits the frames' addresses may have.
pub(super) fn address_bits(wanted: &Reservation) -> u32 {
    match wanted.memory_flags & ADDRESS_BITS {
        0 => u64::BITS,
        bits => bits,
    }
}

/// Makes them the domain's.
///
/// # Errors
/// `ENOMEM` if it has got others meanwhile that leave no room for these, or is being taken apart.
fn give(target: &Domain, extent: Vec<Allocation>) -> Result<(), Errno> {
    let count = extent.len() as u64;
    if !target.frames.push_within(extent, target.max_frames()) {
        return Err(Errno::ENOMEM);
    }
    claim::note_taken(target, count);
    Ok(())
}

fn increase(caller: &mut Caller<'_>, target: &Arc<Domain>, reservation: &Reservation, index: u64) -> Result<(), Errno> {
    let extent = allocate(caller, target, reservation)?;
    let first = extent.first().map_or(0, |allocation| allocation.mfn().get());
    if reservation.extent_start != 0 {
        caller.cpu.write_element(list(reservation), index, &first)?;
    }
    give(target, extent)
}

fn populate(caller: &mut Caller<'_>, target: &Arc<Domain>, reservation: &Reservation, index: u64) -> Result<(), Errno> {
    let pfn: u64 = caller.cpu.read_element(list(reservation), index)?;
    let extent = allocate(caller, target, reservation)?;
    let first = extent.first().map_or(0, |allocation| allocation.mfn().get());
    caller.cpu.write_element(list(reservation), index, &first)?;
    for (offset, allocation) in (0..).zip(&extent) {
        m2p::set(allocation.mfn(), Pfn::new(pfn.wrapping_add(offset)));
    }
    give(target, extent)
}
