//! Address size of guests: all are 64-bit.

use abi::domctl::AddressSize;
use abi::errno::Errno;

use crate::call::{CallResult, Caller};
use crate::control::Request;

const BITS: u32 = 64;

/// Accepts 64 bits, the only supported size.
pub(super) fn set_address_size(request: &Request) -> CallResult {
    let AddressSize { bits } = request.argument();
    if bits == BITS { Ok(0) } else { Err(Errno::EINVAL.into()) }
}

/// Returns the address size.
pub(super) fn get_address_size(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    request.answer(caller, &AddressSize { bits: BITS })?;
    Ok(0)
}
