//! `exchange`: replaces frames by others that are contiguous or have short addresses. The
//! pseudo-physical frame numbers stay the same.

use core::mem::offset_of;

use abi::errno::Errno;
use abi::memory::{Exchange, Reservation};
use alloc::sync::Arc;
use machine::addr::{GuestVirt, Mfn, Pfn};
use machine::frames::{self, Allocation, Chain};
use machine::integers::low_u8;
use machine::m2p;

use super::reservation::{COST_OF_NEW, MAX_ORDER, address_bits};
use crate::call::{CallError, CallResult, Caller};
use crate::domain::Domain;
use crate::limits::{self, Limit};
use crate::memory::claim;

/// Cost of a frame that is taken from the domain, in addition to that of its replacement.
const COST_OF_TAKEN: u32 = 16;

/// Exchanges extents. The field `exchanged_count` contains the progress of a restarted call.
pub(super) fn exchange(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let request: Exchange = caller.cpu.read(argument)?;
    let Exchange { input, output, exchanged_count, .. } = request;
    let target = check(caller, &input, &output)?;
    // The work is done in chunks of the larger extent size.
    let chunk_order = input.extent_order.max(output.extent_order);
    let in_per_chunk = 1u64 << (chunk_order - input.extent_order);
    if exchanged_count > input.extent_count || !exchanged_count.is_multiple_of(in_per_chunk) {
        return Err(Errno::EINVAL.into());
    }
    let mut done = exchanged_count;
    let mut outcome = Ok(0);
    while done < input.extent_count {
        let cost = (COST_OF_NEW + COST_OF_TAKEN) << chunk_order;
        if !caller.budget.has_room(cost) {
            outcome = Err(CallError::again());
            break;
        }
        caller.budget.spend(cost);
        if let Err(error) = chunk(caller, &target, &input, &output, done / in_per_chunk, chunk_order) {
            outcome = Err(error.into());
            break;
        }
        done += in_per_chunk;
    }
    caller.cpu.write(argument.offset(offset_of!(Exchange, exchanged_count) as u64), &done)?;
    outcome
}

/// Checks that both sides name the same domain and the same number of frames.
fn check(caller: &Caller<'_>, input: &Reservation, output: &Reservation) -> Result<Arc<Domain>, Errno> {
    let orders = [input.extent_order, output.extent_order];
    if orders.iter().any(|&order| order > MAX_ORDER) {
        limits::met(caller.domain, Limit::ExtentOrder);
        return Err(Errno::EPERM);
    }
    let frames = |side: &Reservation| side.extent_count.checked_mul(1 << side.extent_order);
    let (Some(given), Some(taken)) = (frames(input), frames(output)) else { return Err(Errno::EINVAL) };
    if given != taken || input.domain != output.domain {
        return Err(Errno::EINVAL);
    }
    caller.target(input.domain)
}

/// Exchanges one chunk. Its frames are all taken from the domain, or none is; then the new frames
/// get their numbers.
fn chunk(
    caller: &mut Caller<'_>,
    target: &Domain,
    input: &Reservation,
    output: &Reservation,
    index: u64,
    order: u32,
) -> Result<(), Errno> {
    let in_list = GuestVirt::new(input.extent_start);
    let out_list = GuestVirt::new(output.extent_start);
    let in_extents = 1u64 << (order - input.extent_order);
    let out_extents = 1u64 << (order - output.extent_order);
    if !target.may_exchange(1 << order) {
        return Err(Errno::ENOMEM);
    }
    let address_bits = address_bits(caller.domain, output)?;
    // The new frames are allocated first: a failure has no effect. The chain returns them in
    // reverse order.
    let mut fresh = Chain::new();
    for extent in 0..out_extents {
        let pfn: u64 = caller.cpu.read_element(out_list, index * out_extents + extent)?;
        // The order is at most `MAX_ORDER`.
        let block = claim::take(target, low_u8(output.extent_order.into()), address_bits).ok_or(Errno::ENOMEM)?;
        for (offset, allocation) in (0..).zip(block.give_to(target.id())) {
            frames::set_number(allocation.mfn(), Pfn::new(pfn.wrapping_add(offset)));
            fresh.push(allocation);
        }
    }
    let mut taken = Chain::new();
    for extent in 0..in_extents {
        let first = caller.cpu.read_element::<u64>(in_list, index * in_extents + extent);
        let all = first.map_err(Errno::from).and_then(|first| take_extent(target, first, input, &mut taken));
        if let Err(errno) = all {
            taken.for_each(|allocation| target.frames.push(allocation));
            return Err(errno);
        }
    }
    for allocation in taken {
        frames::set_number(allocation.mfn(), m2p::INVALID);
    }
    // Ownership of the frames does not change even if the list cannot be written any more.
    let mut told = Ok(());
    for extent in (0..out_extents).rev() {
        let mut first = 0;
        for allocation in fresh.by_ref().take(1 << output.extent_order) {
            first = allocation.mfn().get();
            target.frames.push(allocation);
        }
        told = told.and(caller.cpu.write_element(out_list, index * out_extents + extent, &first));
    }
    Ok(told?)
}

/// Takes the frames of an extent from the domain.
fn take_extent(target: &Domain, first: u64, input: &Reservation, taken: &mut Chain) -> Result<(), Errno> {
    for offset in 0..1u64 << input.extent_order {
        taken.push(take(target, first.checked_add(offset)).ok_or(Errno::EINVAL)?);
    }
    Ok(())
}

/// Takes a frame from the domain if no other reference to it exists.
fn take(target: &Domain, number: Option<u64>) -> Option<Allocation> {
    let frame = target.frame(Mfn::new(number?))?;
    let allocation = target.frames.remove(&frame)?;
    // One reference is the allocation's, the other is `frame`. A further one is a mapping, which
    // would keep the frame allocated.
    if frame.count() != 2 {
        target.frames.push(allocation);
        return None;
    }
    Some(allocation)
}
