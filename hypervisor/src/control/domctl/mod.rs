//! `domctl`: making, watching, changing and ending domains (public header `domctl.h`). One file for each concern.

use abi::domctl::op;
use abi::errno::Errno;
use machine::addr::GuestVirt;

use super::{Request, note_refusal};
use crate::hypercall::{CallResult, Caller};

/// Performs the operation that `address` describes.
pub fn domctl(caller: &mut Caller<'_>, address: GuestVirt) -> CallResult {
    let request = Request::domctl(caller, address)?;
    let result = perform(caller, &request);
    note_refusal(caller, op::NAMES, &request, &result);
    result
}

fn perform(_caller: &mut Caller<'_>, _request: &Request) -> CallResult {
    Err(Errno::ENOSYS.into())
}
