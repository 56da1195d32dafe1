//! `transfer`: a frame of the caller's goes to a domain that has asked for one. The receiver gets a frame with the same
//! contents; which machine frame that is it learns from its grant entry, as always.

use alloc::sync::Arc;

use abi::grant_table::{Transfer, status};
use machine::addr::Mfn;
use machine::frames::{Allocation, TypedRef, Writable};
use machine::m2p;
use machine::paging::NoEntries;

use super::{Failure, status_of};
use crate::call::{CallError, Caller};
use crate::domain::{self, Domain};
use crate::memory::claim;

const COST: u32 = 512;
/// References to a frame that nothing uses: its owner's, and the one through which it is looked at.
const UNUSED: u32 = 2;

pub(super) fn transfer(caller: &mut Caller<'_>, element: &mut Transfer) -> Result<(), CallError> {
    caller.budget.spend(COST);
    let outcome = transfer_one(caller, element);
    element.status = status_of(outcome)?;
    Ok(())
}

/// From the moment at which the frame is taken from the caller, it is lost to it whatever happens: so the interface has
/// it.
fn transfer_one(caller: &mut Caller<'_>, element: &Transfer) -> Result<(), Failure> {
    let frame = caller.domain.frame(Mfn::new(element.mfn)).ok_or(status::BAD_PAGE)?;
    if frame.count() > UNUSED {
        return Err(status::BAD_PAGE.into());
    }
    let taken = caller.domain.frames.remove(&frame).ok_or(status::BAD_PAGE)?;
    m2p::set(taken.mfn(), m2p::INVALID);
    let receiver = domain::by_id(element.domain).ok_or(status::BAD_DOMAIN)?;
    if receiver.is_dying() || !receiver.may_own(1) {
        return Err(status::GENERAL_ERROR.into());
    }
    let given = copy_of(caller, &receiver, &taken)?;
    let (mfn, frame) = (given.mfn(), given.reference());
    // The receiver's first, as long as it may have another: several may be giving to it, and itself
    // asking for more.
    if !receiver.frames.push_within(core::iter::once(given), receiver.max_frames()) {
        return Err(status::GENERAL_ERROR.into());
    }
    let mut table = receiver.grants.table();
    if table.commit_transfer(element.reference, caller.domain.id()) {
        table.complete_transfer(element.reference, mfn);
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
