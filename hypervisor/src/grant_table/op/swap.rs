//! `swap_grant_ref`.

use abi::grant_table::{SwapGrantRef, status};

use crate::call::{CallError, Caller};

pub(super) fn swap(caller: &mut Caller<'_>, element: &mut SwapGrantRef) -> Result<(), CallError> {
    let swapped = caller.domain.grants.table().swap(element.reference_a, element.reference_b);
    element.status = swapped.err().unwrap_or(status::OKAY);
    Ok(())
}
