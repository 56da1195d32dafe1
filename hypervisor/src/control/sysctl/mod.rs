//! `sysctl`: the host's state and settings (public header `sysctl.h`). One file for each concern.

use abi::errno::Errno;
use abi::sysctl::op;
use machine::addr::GuestVirt;

use super::{Request, note_refusal};
use crate::hypercall::{CallResult, Caller};

/// Performs the operation that `address` describes.
pub fn sysctl(caller: &mut Caller<'_>, address: GuestVirt) -> CallResult {
    let request = Request::sysctl(caller, address)?;
    let result = perform(caller, &request);
    note_refusal(caller, op::NAMES, &request, &result);
    result
}

fn perform(_caller: &mut Caller<'_>, _request: &Request) -> CallResult {
    Err(Errno::ENOSYS.into())
}
