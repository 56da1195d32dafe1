//! `transfer`: gives a frame of the caller to a domain that has requested one. The receiver gets
//! another frame with the same contents. It reads the frame's number from its grant entry, as the
//! interface defines.

use alloc::sync::Arc;

use abi::grant_table::{Transfer, status};
use machine::addr::Mfn;
use machine::frames::{self, Allocation, TypedRef, Writable};
use machine::m2p;
use machine::paging::NoEntries;

use super::{Failure, status_of};
use crate::call::{CallError, Caller};
use crate::domain::{self, Domain};
use crate::grant_table::GrantRef;
use crate::memory::claim;

const COST: u32 = 512;
/// Reference count of an unused frame: the owner's reference and the one used to examine it.
const UNUSED: u32 = 2;

pub(super) fn transfer(caller: &mut Caller<'_>, element: &mut Transfer) -> Result<(), CallError> {
    caller.budget.spend(COST);
    let outcome = transfer_one(caller, element);
    element.status = status_of(outcome)?;
    Ok(())
}

/// As the interface defines, the caller loses the frame once it has been taken, even if the
/// transfer fails.
fn transfer_one(caller: &mut Caller<'_>, element: &Transfer) -> Result<(), Failure> {
    let frame = caller.domain.frame(Mfn::new(element.mfn)).ok_or(status::BAD_PAGE)?;
    if frame.count() > UNUSED {
        return Err(status::BAD_PAGE.into());
    }
    let taken = caller.domain.frames.remove(&frame).ok_or(status::BAD_PAGE)?;
    frames::set_number(taken.mfn(), m2p::INVALID);
    let receiver = domain::by_id(element.domain).ok_or(status::BAD_DOMAIN)?;
    if receiver.is_dying() || !receiver.may_own(1) {
        return Err(status::GENERAL_ERROR.into());
    }
    let given = copy_of(caller, &receiver, &taken)?;
    let (mfn, frame) = (given.mfn(), given.reference());
    // Added to the receiver first, if its limit permits. Other transfers to it, or its own
    // allocations, may run concurrently.
    if !receiver.frames.push_within(core::iter::once(given), receiver.max_frames()) {
        return Err(status::GENERAL_ERROR.into());
    }
    let reference = GrantRef::new(element.reference);
    let mut table = receiver.grants.table();
    if table.commit_transfer(reference, caller.domain.id()) {
        table.complete_transfer(reference, mfn);
        drop(table);
        claim::note_taken(&receiver, 1);
        return Ok(());
    }
    drop(table);
    let unwanted = receiver.frames.remove(&frame);
    drop((unwanted, frame));
    Err(status::GENERAL_ERROR.into())
}

fn copy_of(caller: &mut Caller<'_>, receiver: &Arc<Domain>, from: &Allocation) -> Result<Allocation, Failure> {
    let block = claim::take(receiver, 0, u64::BITS).ok_or(status::GENERAL_ERROR)?;
    let given = block.give_to(receiver.id()).next().ok_or(status::GENERAL_ERROR)?;
    let page = TypedRef::<Writable>::acquire(given.reference(), &mut NoEntries, &mut caller.budget)?;
    page.copy_frame(&from.reference());
    Ok(given)
}
