//! `callback_op`: sets and removes single entry points (public header `callback.h`).

use abi::callback::{Register, Unregister, flags, kind, op};
use abi::errno::Errno;
use machine::addr::GuestVirt;

use super::traps_and_callbacks::{callback, register_nmi, unregister_nmi};
use crate::call::{CallResult, Caller, operations};

operations! {
    /// Registers or unregisters a callback.
    pub(crate) fn callback_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::REGISTER => register(caller, argument);
    op::UNREGISTER => unregister(caller, argument);
}

fn register(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let request: Register = caller.cpu.read(argument)?;
    let masked = request.flags & flags::MASK_EVENTS != 0;
    let handler = callback(request.address, masked)?;
    let handlers = caller.cpu.handlers_mut();
    match request.kind {
        // Events are always masked when their callback is entered.
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

fn unregister(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let Unregister { kind, .. } = caller.cpu.read(argument)?;
    match kind {
        kind::NMI => unregister_nmi(caller),
        kind::EVENT | kind::FAILSAFE | kind::SYSCALL | kind::SYSCALL32 | kind::SYSENTER => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;
    use crate::testing::Guest;

    fn register(guest: &mut Guest, kind: u16, flags: u16, address: u64) -> CallResult {
        let request = guest.put(&Register { kind, flags, _pad: 0, address });
        callback_op(&mut guest.caller(), op::REGISTER, request)
    }

    #[test]
    fn callbacks_are_set_with_their_flags() {
        let guest = &mut Guest::new(1, 2);
        for kind in [kind::EVENT, kind::FAILSAFE, kind::SYSCALL, kind::SYSCALL32, kind::SYSENTER, kind::NMI] {
            assert!(matches!(register(guest, kind, flags::MASK_EVENTS, 0x1000 + u64::from(kind)), Ok(0)));
        }
        assert!(matches!(register(guest, kind::FAILSAFE, 0, 0x2000), Ok(0)));
        let caller = guest.caller();
        let handlers = caller.cpu.context().handlers();
        assert_eq!((handlers.syscall.address, handlers.syscall.mask_events), (0x1002, 1));
        assert_eq!((handlers.failsafe.address, handlers.failsafe.mask_events), (0x2000, 0));
        assert_eq!((handlers.nmi.address, handlers.traps[2].address), (0x1004, 0x1004));
    }

    #[test]
    fn unknown_callbacks_are_refused() {
        let guest = &mut Guest::new(1, 2);
        for kind in [kind::SYSENTER_DEPRECATED, 6, 8, u16::MAX] {
            assert!(matches!(register(guest, kind, 0, 0x1000), Err(CallError::Errno(Errno::ENOSYS))));
        }
        assert!(matches!(register(guest, kind::EVENT, 0, 1 << 63), Err(CallError::Errno(Errno::EINVAL))));
        let request = guest.put(&Unregister { kind: kind::EVENT, _pad: 0 });
        let result = callback_op(&mut guest.caller(), op::UNREGISTER, request);
        assert!(matches!(result, Err(CallError::Errno(Errno::EINVAL))));
        let result = callback_op(&mut guest.caller(), 2, request);
        assert!(matches!(result, Err(CallError::Errno(Errno::ENOSYS))));
    }
}
