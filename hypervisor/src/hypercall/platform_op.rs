//! `platform_op`: the machine's firmware, clock and power, for the initial domain (public header `platform.h`).

use abi::errno::Errno;
use abi::platform::{PlatformOp, interface};
use machine::addr::GuestVirt;

use super::{CallResult, Caller};

/// Refuses who may not, in the order in which the interface checks; the operations themselves are not there yet.
pub fn platform_op(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let request: PlatformOp = caller.cpu.read(argument)?;
    if request.interface_version != interface::VERSION {
        return Err(Errno::EACCES.into());
    }
    if !caller.domain.is_privileged() {
        return Err(Errno::EPERM.into());
    }
    Err(Errno::ENOSYS.into())
}
