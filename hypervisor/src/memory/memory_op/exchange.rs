//! `exchange`: frames for other frames, contiguous or below an address, with the same pseudo-physical numbers.

use core::mem::offset_of;

use abi::errno::Errno;
use abi::memory::{Exchange, Reservation};
use alloc::sync::Arc;
use alloc::vec::Vec;
use machine::addr::{GuestVirt, Mfn, Pfn};
use machine::frames::{self, Allocation};
use machine::m2p;

use super::reservation::address_bits;
use crate::domain::Domain;
use crate::hypercall::{CallError, CallResult, Caller};

/// The largest extent on either side.
const MAX_ORDER: u32 = 9;

/// Exchanges extents; the structure's `exchanged_count` carries the progress of a continued call.
pub(super) fn exchange(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let request: Exchange = caller.cpu.read(argument)?;
    let Exchange { input, output, exchanged_count, .. } = request;
    let target = check(caller, &input, &output)?;
    // Work in chunks of the larger side's extent.
    let chunk_order = input.extent_order.max(output.extent_order);
    let in_per_chunk = 1u64 << (chunk_order - input.extent_order);
    if exchanged_count > input.extent_count || !exchanged_count.is_multiple_of(in_per_chunk) {
        return Err(Errno::EINVAL.into());
    }
    let mut done = exchanged_count;
    let mut outcome = Ok(0);
    while done < input.extent_count {
        if caller.budget.is_exhausted() && done != exchanged_count {
            outcome = Err(CallError::again());
            break;
        }
        caller.budget.spend(64 << chunk_order);
        if let Err(error) = chunk(caller, &target, &input, &output, done / in_per_chunk, chunk_order) {
            outcome = Err(error.into());
            break;
        }
        done += in_per_chunk;
    }
    caller.cpu.write(argument.offset(offset_of!(Exchange, exchanged_count) as u64), &done)?;
    outcome
}

/// Both sides must name the same domain and the same number of frames.
fn check(caller: &Caller<'_>, input: &Reservation, output: &Reservation) -> Result<Arc<Domain>, Errno> {
    let orders = [input.extent_order, output.extent_order];
    if orders.iter().any(|&order| order > MAX_ORDER) {
        return Err(Errno::EPERM);
    }
    let frames = |side: &Reservation| side.extent_count.checked_mul(1 << side.extent_order);
    let (Some(given), Some(taken)) = (frames(input), frames(output)) else { return Err(Errno::EINVAL) };
    if given != taken || input.domain != output.domain {
        return Err(Errno::EINVAL);
    }
    caller.target(input.domain)
}

/// One chunk: all its frames are taken from the domain, or none; then the new ones take over their numbers.
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
    // The new frames first: without them, nothing has happened.
    let mut fresh = Vec::new();
    for _ in 0..out_extents {
        let order = u8::try_from(output.extent_order).map_err(|_| Errno::EINVAL)?;
        let extent = frames::allocate_addressable(order, target.id(), address_bits(output));
        fresh.push(extent.ok_or(Errno::ENOMEM)?);
    }
    let mut pfns = Vec::new();
    for extent in 0..out_extents {
        pfns.push(caller.cpu.read_element::<u64>(out_list, index * out_extents + extent)?);
    }
    let mut taken = Vec::new();
    for extent in 0..in_extents {
        let first: u64 = caller.cpu.read_element(in_list, index * in_extents + extent)?;
        for offset in 0..1u64 << input.extent_order {
            match take(target, first.checked_add(offset)) {
                Some(allocation) => taken.push(allocation),
                None => {
                    taken.into_iter().for_each(|allocation| target.frames.push(allocation));
                    return Err(Errno::EINVAL);
                }
            }
        }
    }
    for allocation in taken {
        m2p::set(allocation.mfn(), m2p::INVALID);
    }
    for (extent, (frames, pfn)) in (0..).zip(fresh.into_iter().zip(pfns)) {
        let first = frames.first().map_or(0, |allocation| allocation.mfn().get());
        for (offset, allocation) in (0..).zip(frames) {
            m2p::set(allocation.mfn(), Pfn::new(pfn.wrapping_add(offset)));
            target.frames.push(allocation);
        }
        caller.cpu.write_element(out_list, index * out_extents + extent, &first)?;
    }
    Ok(())
}

/// Takes a frame of the domain's that nobody else refers to.
fn take(target: &Domain, number: Option<u64>) -> Option<Allocation> {
    let frame = target.frame(Mfn::new(number?))?;
    let allocation = target.frames.remove(&frame)?;
    // The allocation's reference and ours: any other is a mapping, which would keep the frame from going.
    if frame.count() != 2 {
        target.frames.push(allocation);
        return None;
    }
    Some(allocation)
}
