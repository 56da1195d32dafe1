//! The calls by which the control domain manages the host: `domctl` for domains, `sysctl` for the
//! machine. Each subject has its own file.
//!
//! Each call first checks the privilege (`EPERM`), before it reads anything. Then it reads the
//! request (`EFAULT`) and checks the interface version (`EACCES`) before it performs the operation.

pub(crate) mod cpu_bitmap;
pub(crate) mod cpu_policy;
pub(crate) mod domctl;
mod request;
pub(crate) mod sysctl;

pub(crate) use request::Request;

use abi::errno::Errno;

use crate::call::{CallError, CallResult, Caller, ControlPrivilege};
use crate::guest_log::guest_log;

/// `kexec_op`: replacing the hypervisor by another kernel is not supported.
pub(crate) fn kexec_op(_: ControlPrivilege) -> CallResult {
    Err(Errno::ENOSYS.into())
}

/// Logs a refused operation, for debugging of tools.
fn note_refusal(caller: &Caller<'_>, names: &[(&str, u32)], request: &Request, result: &CallResult) {
    if let Err(CallError::Errno(errno)) = result {
        let name = names.iter().find(|(_, number)| *number == request.command).map_or("operation", |(name, _)| name);
        guest_log!(caller.domain, Debug, "{name} ({}) of {}: {errno:?}", request.command, request.domain.0);
    }
}

#[cfg(test)]
mod tests;
