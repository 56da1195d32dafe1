//! Arrays of elements, performed one by one while the budget lasts.

use machine::addr::GuestVirt;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::call::{CallError, CallResult, Caller};

/// Cost of an element, in addition to what the operation spends.
const COST: u32 = 32;

/// Reads, performs and writes back each element.
pub(super) fn each<T: FromBytes + IntoBytes + Immutable>(
    caller: &mut Caller<'_>,
    array: GuestVirt,
    count: u32,
    mut act: impl FnMut(&mut Caller<'_>, &mut T) -> Result<(), CallError>,
) -> CallResult {
    for index in 0..count {
        if index != 0 && caller.budget.is_exhausted() {
            return Err(CallError::again().with_rest::<T>(1, array, count, index, 0));
        }
        caller.budget.spend(COST);
        let mut element: T = caller.cpu.read_element(array, u64::from(index))?;
        act(caller, &mut element).map_err(|error| error.with_rest::<T>(1, array, count, index, 0))?;
        caller.cpu.write_element(array, u64::from(index), &element)?;
    }
    Ok(0)
}
