//! `nmi_op`: the NMI handler (public header `nmi.h`).

use abi::nmi::{RegisterCallback, op};
use machine::addr::GuestVirt;

use super::traps_and_callbacks::{register_nmi, unregister_nmi};
use crate::call::{CallResult, Caller, operations};

operations! {
    /// Sets the NMI handler, or removes it.
    pub(crate) fn nmi_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::REGISTER_CALLBACK => register(caller, argument);
    op::UNREGISTER_CALLBACK => unregister_nmi(caller);
}

fn register(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let callback: RegisterCallback = caller.cpu.read(argument)?;
    register_nmi(caller, callback.handler_address)
}
