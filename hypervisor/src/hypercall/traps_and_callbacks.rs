//! `set_trap_table` and `set_callbacks`: the entry points of the guest kernel. The NMI handler is
//! the trap table's entry for vector 2, whichever call sets it.

use abi::arch_x86_64::{TRAP_INFO_DPL_MASK, TRAP_INFO_MASK_EVENTS, TrapInfo, flat};
use abi::errno::Errno;
use machine::addr::GuestVirt;
use machine::context::{Handler, Handlers, is_canonical};
use machine::speculation::MaskedIndex;

use crate::call::{CallError, CallResult, Caller};
use crate::vcpu_context::NMI_VECTOR;

/// The privilege level of guest kernels.
const KERNEL_PRIVILEGE: u16 = 3;
const NO_HANDLER: Handler = Handler::new(0, 0, false, 0);
/// Cost of an entry, in units of the budget.
const COST_OF_ENTRY: u32 = 4;

/// Sets the handlers in `table`, which ends with address zero. A null table removes all handlers.
pub(crate) fn set_trap_table(caller: &mut Caller<'_>, table: GuestVirt) -> CallResult {
    if table.get() == 0 {
        let handlers = caller.cpu.handlers_mut();
        handlers.traps = [NO_HANDLER; 256];
        handlers.nmi = NO_HANDLER;
        return Ok(0);
    }
    let mut entry = table;
    loop {
        let trap: TrapInfo = caller.cpu.read(entry)?;
        if trap.address == 0 {
            return Ok(0);
        }
        if !is_canonical(trap.address) {
            return Err(Errno::EINVAL.into());
        }
        set_trap(caller.cpu.handlers_mut(), &trap);
        entry = entry.offset(size_of::<TrapInfo>() as u64);
        caller.budget.spend(COST_OF_ENTRY);
        if caller.budget.is_exhausted() {
            return Err(CallError::again().with_argument(0, entry.get()));
        }
    }
}

fn set_trap(handlers: &mut Handlers, trap: &TrapInfo) {
    let handler = Handler::new(
        trap.address,
        trap.code_selector | KERNEL_PRIVILEGE,
        trap.flags & TRAP_INFO_MASK_EVENTS != 0,
        trap.flags & TRAP_INFO_DPL_MASK,
    );
    if let Some(slot) = handlers.traps.masked_mut(usize::from(trap.vector)) {
        *slot = handler;
    }
    if usize::from(trap.vector) == NMI_VECTOR {
        handlers.nmi = handler;
    }
}

/// Sets the event, failsafe and system call callbacks. An address that is not canonical leaves its
/// callback unchanged.
pub(crate) fn set_callbacks(caller: &mut Caller<'_>, event: u64, failsafe: u64, syscall: u64) -> CallResult {
    let handlers = caller.cpu.handlers_mut();
    // Events are always masked when their callback is entered.
    for (slot, address, mask) in [
        (&mut handlers.event, event, true),
        (&mut handlers.failsafe, failsafe, false),
        (&mut handlers.syscall, syscall, false),
    ] {
        if let Ok(handler) = callback(address, mask) {
            *slot = handler;
        }
    }
    Ok(0)
}

/// Creates a callback at `address`.
///
/// # Errors
/// `EINVAL` if the address is not canonical.
pub(super) const fn callback(address: u64, mask_events: bool) -> Result<Handler, Errno> {
    if is_canonical(address) {
        Ok(Handler::new(address, flat::KERNEL_CS64, mask_events, 0))
    } else {
        Err(Errno::EINVAL)
    }
}

/// Sets the NMI handler.
pub(super) fn register_nmi(caller: &mut Caller<'_>, address: u64) -> CallResult {
    let handler = callback(address, true)?;
    set_nmi(caller, handler);
    Ok(0)
}

/// Removes the NMI handler.
pub(super) fn unregister_nmi(caller: &mut Caller<'_>) -> CallResult {
    set_nmi(caller, NO_HANDLER);
    Ok(0)
}

fn set_nmi(caller: &mut Caller<'_>, handler: Handler) {
    let handlers = caller.cpu.handlers_mut();
    handlers.nmi = handler;
    handlers.traps[NMI_VECTOR] = handler;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Continuation;
    use crate::testing::Guest;
    use machine::context::GuestContext;

    fn trap(vector: u8, flags: u8) -> TrapInfo {
        TrapInfo { vector, flags, code_selector: 0xe030, _pad: 0, address: 0xffff_ffff_8100_0000 }
    }

    #[test]
    fn a_trap_table_entry_becomes_a_handler_in_ring_three() {
        let mut context = GuestContext::new();
        set_trap(context.handlers_mut(), &trap(3, 3 | TRAP_INFO_MASK_EVENTS));
        assert_eq!(context.handlers().traps[3], Handler::new(0xffff_ffff_8100_0000, 0xe033, true, 3));
        assert!(!context.handlers().nmi.is_set());
    }

    #[test]
    fn vector_two_is_the_nmi_handler() {
        let mut context = GuestContext::new();
        set_trap(context.handlers_mut(), &trap(2, 0));
        assert_eq!(context.handlers().nmi, context.handlers().traps[2]);
        assert!(context.handlers().nmi.is_set());
    }

    #[test]
    fn callbacks_have_canonical_addresses() {
        assert!(callback(0x0000_8000_0000_0000, true).is_err());
        assert!(callback(0xffff_8800_0000_0000, true).is_ok());
    }

    #[test]
    fn a_trap_table_without_end_is_preempted() {
        let mut guest = Guest::new(1, 3);
        let table = [trap(14, 0); 256];
        let start = guest.put(&table);
        let result = set_trap_table(&mut guest.caller_with(100 * COST_OF_ENTRY), start);
        let next = start.offset(100 * 16).get();
        let Err(CallError::Continue(Continuation { arguments, .. })) = result else { panic!("{result:?}") };
        assert_eq!(arguments, [Some(next), None, None, None]);
        // Page 1 is zero, so the table ends there.
        assert!(matches!(set_trap_table(&mut guest.caller(), GuestVirt::new(next)), Ok(0)));
        assert!(guest.caller().cpu.context().handlers().traps[14].is_set());
        assert!(matches!(set_trap_table(&mut guest.caller(), GuestVirt::new(0)), Ok(0)));
        assert!(!guest.caller().cpu.context().handlers().traps[14].is_set());
    }

    #[test]
    fn bad_tables_are_refused() {
        let mut guest = Guest::new(1, 2);
        let bad = TrapInfo { address: 1 << 47, ..trap(1, 0) };
        let place = guest.put(&bad);
        let result = set_trap_table(&mut guest.caller(), place);
        assert!(matches!(result, Err(CallError::Errno(Errno::EINVAL))));
        let result = set_trap_table(&mut guest.caller(), GuestVirt::new(8));
        assert!(matches!(result, Err(CallError::Errno(Errno::EFAULT))));
    }
}
