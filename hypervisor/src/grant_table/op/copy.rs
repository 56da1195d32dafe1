//! `copy`: copies between frames of the caller and frames granted to it, in either direction.

use alloc::sync::Arc;

use abi::grant_table::{CopyPointer, GrantCopy, copy_flags, status};
use abi::xen::DomainId;
use machine::addr::PAGE_SIZE;
use machine::frames::{FrameRef, TypedRef};
use machine::integers::low_u32;
use machine::paging::NoEntries;
use machine::speculation::MaskedIndex;

use super::{Failure, status_of};
use crate::call::{CallError, Caller};
use crate::domain::{self, Domain};
use crate::grant_table::frame_of;
use crate::grant_table::pin::Pin;
use crate::grant_table::table::{GrantRef, Status, Use};

/// Number of bytes copied at a time.
const PIECE: usize = 1024;
/// Number of bytes that cost one unit of the budget.
const BYTES_PER_UNIT: u32 = 64;

pub(super) fn copy(caller: &mut Caller<'_>, element: &mut GrantCopy) -> Result<(), CallError> {
    let outcome = copy_one(caller, element);
    element.status = status_of(outcome)?;
    Ok(())
}

/// The domain that owns a pointer's frame. A frame number can only refer to the caller's own
/// frames.
fn owner(caller: &Caller<'_>, pointer: &CopyPointer, is_reference: bool) -> Result<Arc<Domain>, Status> {
    if pointer.domain == DomainId::SELF {
        return Ok(Arc::clone(caller.domain));
    }
    if !is_reference {
        return Err(status::PERMISSION_DENIED);
    }
    domain::by_id(pointer.domain).ok_or(status::BAD_DOMAIN)
}

/// The frame of a pointer, with the pin if it is a grant reference.
fn claim(
    caller: &Caller<'_>,
    owner: &Arc<Domain>,
    pointer: &CopyPointer,
    is_reference: bool,
    write: bool,
) -> Result<(Option<Pin>, FrameRef), Status> {
    if !is_reference {
        let frame = frame_of(owner.id(), pointer.reference_or_frame).ok_or(status::BAD_PAGE)?;
        return Ok((None, frame));
    }
    let reference = GrantRef::new(low_u32(pointer.reference_or_frame));
    let (pin, frame) = Pin::new(owner, caller.domain.id(), Use { reference, write, whole_page: false })?;
    Ok((Some(pin), frame))
}

fn copy_one(caller: &mut Caller<'_>, element: &GrantCopy) -> Result<(), Failure> {
    let source_is_reference = element.flags & copy_flags::SOURCE_GREF != 0;
    let destination_is_reference = element.flags & copy_flags::DEST_GREF != 0;
    let source_owner = owner(caller, &element.source, source_is_reference)?;
    let destination_owner = owner(caller, &element.destination, destination_is_reference)?;
    let (_source_pin, source) = claim(caller, &source_owner, &element.source, source_is_reference, false)?;
    let (_destination_pin, destination) =
        claim(caller, &destination_owner, &element.destination, destination_is_reference, true)?;
    let destination = TypedRef::acquire(destination, &mut NoEntries, &mut caller.budget)?;
    let (from, to) = (usize::from(element.source.offset), usize::from(element.destination.offset));
    let length = usize::from(element.length);
    if from + length > PAGE_SIZE || to + length > PAGE_SIZE {
        return Err(status::BAD_COPY_ARG.into());
    }
    caller.budget.spend(u32::from(element.length) / BYTES_PER_UNIT);
    let mut piece = [0; PIECE];
    for start in (0..length).step_by(PIECE) {
        let Some(piece) = piece.part_mut(..PIECE.min(length - start)) else { break };
        source.copy_out(from + start, piece);
        destination.copy_in(to + start, piece);
    }
    Ok(())
}
