//! Arrays of elements, worked on one by one as far as the budget goes.

use machine::addr::GuestVirt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call::{CallError, CallResult, Caller};

/// What an element costs besides what it says itself.
const COST: u32 = 32;

/// The call again, from element `done` on.
pub(super) fn continue_from<T>(array: GuestVirt, count: u32, done: u32, error: CallError) -> CallError {
    let promotion = match error {
        CallError::Continue { promotion, .. } => promotion,
        other => return other,
    };
    let rest = array.offset(u64::from(done) * size_of::<T>() as u64);
    let arguments = [None, Some(rest.get()), Some(u64::from(count.saturating_sub(done))), None];
    CallError::Continue { arguments, promotion }
}

/// Reads, does and writes back each element.
pub(super) fn each<T: FromBytes + IntoBytes + Immutable>(
    caller: &mut Caller<'_>,
    array: GuestVirt,
    count: u32,
    mut act: impl FnMut(&mut Caller<'_>, &mut T) -> Result<(), CallError>,
) -> CallResult {
    for index in 0..count {
        if index != 0 && caller.budget.is_exhausted() {
            return Err(continue_from::<T>(array, count, index, CallError::again()));
        }
        caller.budget.spend(COST);
        let mut element: T = caller.cpu.read_element(array, u64::from(index))?;
        act(caller, &mut element).map_err(|error| continue_from::<T>(array, count, index, error))?;
        caller.cpu.write_element(array, u64::from(index), &element)?;
    }
    Ok(0)
}
