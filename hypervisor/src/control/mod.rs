//! The calls with which the control domain runs the host: `domctl` for domains, `sysctl` for the machine. One file for each concern.
//!
//! The order of every such call: who asks (`EPERM` for any other domain, before anything is read), the request (`EFAULT`), the version of the
//! interface (`EACCES`), then the operation.

pub(crate) mod cpu_bitmap;
pub(crate) mod cpu_policy;
pub(crate) mod domctl;
mod request;
pub(crate) mod sysctl;

pub(crate) use request::Request;

use abi::errno::Errno;

use crate::call::{CallError, CallResult, Caller, ControlPrivilege};
use crate::guest_log::guest_log;

/// `kexec_op`: no other kernel can be started in the host's place.
pub(crate) fn kexec_op(_: ControlPrivilege) -> CallResult {
    Err(Errno::ENOSYS.into())
}

/// Says in the log what was refused, to whoever debugs a tool.
fn note_refusal(caller: &Caller<'_>, names: &[(&str, u32)], request: &Request, result: &CallResult) {
    if let Err(CallError::Errno(errno)) = result {
        let name = names.iter().find(|(_, number)| *number == request.command).map_or("operation", |(name, _)| name);
        guest_log!(caller.domain, Debug, "{name} ({}) of {}: {errno:?}", request.command, request.domain.0);
    }
}

#[cfg(test)]
mod tests;
