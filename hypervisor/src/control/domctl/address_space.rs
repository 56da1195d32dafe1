//! Guests are 64-bit ones.

use abi::domctl::AddressSize;
use abi::errno::Errno;

use crate::call::{CallResult, Caller};
use crate::control::Request;

const BITS: u32 = 64;

/// Chooses what there is no choice of.
pub(super) fn set_address_size(request: &Request) -> CallResult {
    let AddressSize { bits } = request.argument();
    if bits == BITS { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// Tells it.
pub(super) fn get_address_size(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    request.answer(caller, &AddressSize { bits: BITS })?;
    Ok(0)
}
