//! `callback_op`: sets and unsets single entry points (public header `callback.h`).

use abi::callback::{Register, Unregister, flags, kind, op};
use abi::errno::Errno;
use machine::addr::GuestVirt;

use super::traps_and_callbacks::{callback, register_nmi, unregister_nmi};
use super::{CallResult, Caller};

/// Registers or unregisters a callback.
pub fn callback_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::REGISTER => {
            let request = caller.cpu.read(argument)?;
            register(caller, &request)
        }
        op::UNREGISTER => {
            let request: Unregister = caller.cpu.read(argument)?;
            unregister(caller, request.kind)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn register(caller: &mut Caller<'_>, request: &Register) -> CallResult {
    let masked = request.flags & flags::MASK_EVENTS != 0;
    let handler = callback(request.address, masked)?;
    let handlers = caller.cpu.handlers_mut();
    match request.kind {
        // events are always masked when their callback is entered
        kind::EVENT => handlers.event = callback(request.address, true)?,
        kind::FAILSAFE => handlers.failsafe = handler,
        kind::SYSCALL => handlers.syscall = handler,
        kind::SYSCALL32 => handlers.syscall32 = handler,
        kind::SYSENTER => handlers.sysenter = handler,
        kind::NMI => return register_nmi(caller, request.address),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

fn unregister(caller: &mut Caller<'_>, kind: u16) -> CallResult {
    match kind {
        kind::NMI => {
            unregister_nmi(caller);
            Ok(0)
        }
        kind::EVENT | kind::FAILSAFE | kind::SYSCALL | kind::SYSCALL32 | kind::SYSENTER => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}
