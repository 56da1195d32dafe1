//! `nmi_op`: the handler of non-maskable interrupts (public header `nmi.h`).

use abi::errno::Errno;
use abi::nmi::{RegisterCallback, op};
use machine::addr::GuestVirt;

use super::traps_and_callbacks::{register_nmi, unregister_nmi};
use crate::call::{CallResult, Caller};

/// Sets the NMI handler, or takes it away.
pub(crate) fn nmi_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::REGISTER_CALLBACK => {
            let callback: RegisterCallback = caller.cpu.read(argument)?;
            register_nmi(caller, callback.handler_address)
        }
        op::UNREGISTER_CALLBACK => {
            unregister_nmi(caller);
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}
