//! `swap_grant_ref`.

use abi::grant_table::{SwapGrantRef, status};

use crate::call::{CallError, Caller};
use crate::grant_table::GrantRef;

pub(super) fn swap(caller: &mut Caller<'_>, element: &mut SwapGrantRef) -> Result<(), CallError> {
    let (a, b) = (GrantRef::new(element.reference_a), GrantRef::new(element.reference_b));
    let swapped = caller.domain.grants.table().swap(a, b);
    element.status = swapped.err().unwrap_or(status::OKAY);
    Ok(())
}
