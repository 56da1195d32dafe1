//! What a guest's traps come to: most are bounced to its own handlers, some are Paravane's to act on.

pub(crate) mod bounce;
pub(crate) mod debug_registers;
pub(crate) mod emulate;
pub(crate) use emulate::control0;
mod iret;
mod page_fault;
pub(crate) mod upcall_storm;

use alloc::sync::Arc;

use machine::addr::GuestVirt;
use machine::context::{Active, Handler};
use machine::frames::Budget;

use self::bounce::{Extra, bounce};
use self::emulate::Emulation;
use crate::domain::{Domain, KernelEntry, KillReason, Vcpu};

pub(crate) use iret::iret;
pub(crate) use page_fault::show_ldt_page_of;

/// Exception numbers that need attention here (Intel SDM volume 3, 6.3.1).
mod vector {
    pub(super) const DEBUG: u8 = 1;
    pub(super) const BREAKPOINT: u8 = 3;
    pub(super) const OVERFLOW: u8 = 4;
    pub(super) const INVALID_OPCODE: u8 = 6;
    pub(super) const DEVICE_NOT_AVAILABLE: u8 = 7;
    pub(super) const GENERAL_PROTECTION: u8 = 13;
    pub(super) const PAGE_FAULT: u8 = 14;
    /// `int` of which 32-bit processes make their system calls; like the two above, processes get here without a protection fault.
    pub(super) const SYSTEM_CALL: u8 = 0x80;
}

/// Bit of a #GP error code: it names an entry of the interrupt table.
const ERROR_CODE_IDT: u32 = 2;
/// `int n`.
const OPCODE_INT: u8 = 0xcd;

/// Acts on a write of the guest's kernel to one of its page tables, if it is one of the usual ones; `false`, with nothing done, for all else: [`trap`] acts on
/// that.
#[inline]
pub(crate) fn fast_path(cpu: &mut Active, domain: &Domain, number: u8, error_code: u32, address: GuestVirt) -> bool {
    number == vector::PAGE_FAULT
        && page_fault::is_kernel_write(cpu, error_code)
        && emulate::fast_page_table_write(cpu, domain, address, &mut Budget::new(Budget::FAST))
}

/// Acts on an exception of the guest's.
///
/// # Errors
/// If the guest cannot go on: why.
pub(crate) fn trap(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    number: u8,
    error_code: u32,
    address: GuestVirt,
) -> Result<(), KillReason> {
    match number {
        vector::PAGE_FAULT => return page_fault::page_fault(cpu, domain, vcpu, error_code, address),
        vector::GENERAL_PROTECTION => return general_protection(cpu, domain, vcpu, error_code),
        vector::INVALID_OPCODE => {
            let emulation = emulate::invalid_opcode(cpu, domain, vcpu);
            return finish(cpu, domain, emulation, number, None);
        }
        vector::DEVICE_NOT_AVAILABLE => {
            // The guest's own switch: it finds it off again in its handler.
            if !cpu.context().task_switched() {
                return Ok(());
            }
            cpu.set_task_switched(false);
        }
        vector::DEBUG => cpu.latch_debug_status(),
        vector::BREAKPOINT | vector::OVERFLOW if !handler(cpu, number).is_set() => {
            return no_gate(cpu, domain, number, 1);
        }
        vector::SYSTEM_CALL if !may_raise(cpu, number) => return no_gate(cpu, domain, number, 2),
        _ => {}
    }
    inject(cpu, domain, number, has_error_code(number).then_some(error_code))
}

/// Exceptions with an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP.
const fn has_error_code(number: u8) -> bool {
    matches!(number, 8 | 10..=14 | 17 | 21)
}

/// Enters the guest's handler for an exception.
///
/// # Errors
/// If it cannot be entered: why the guest cannot go on.
pub(crate) fn inject(cpu: &mut Active, domain: &Domain, number: u8, error_code: Option<u32>) -> Result<(), KillReason> {
    let handler = handler(cpu, number);
    let extra = error_code.map_or(Extra::None, Extra::ErrorCode);
    let rip = cpu.registers().rip;
    let from_kernel = cpu.context().is_in_kernel();
    enter(cpu, domain, handler, extra, KernelEntry::Trap { number, error_code, from_kernel, rip })
}

fn general_protection(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    error_code: u32,
) -> Result<(), KillReason> {
    // `int n` is decoded rather than believed: some emulators get the error code wrong.
    if error_code & ERROR_CODE_IDT != 0
        && let Some(number) = software_interrupt(cpu)
    {
        if may_raise(cpu, number) {
            let registers = cpu.registers_mut();
            registers.rip = registers.rip.wrapping_add(2);
            return inject(cpu, domain, number, None);
        }
        return no_gate(cpu, domain, number, 0);
    }
    if error_code == 0 {
        let emulation = emulate::privileged(cpu, domain, vcpu);
        return finish(cpu, domain, emulation, vector::GENERAL_PROTECTION, Some(0));
    }
    inject(cpu, domain, vector::GENERAL_PROTECTION, Some(error_code))
}

fn handler(cpu: &Active, number: u8) -> Handler {
    cpu.context().handlers().trap(number)
}

/// Whether the guest's code at its present level may raise a software interrupt.
fn may_raise(cpu: &Active, number: u8) -> bool {
    let from = if cpu.context().is_in_kernel() { 1 } else { 3 };
    let handler = handler(cpu, number);
    handler.is_set() && handler.privilege >= from
}

/// A software interrupt that is not to be had is a protection fault at its instruction, `length` bytes back, as on a processor: a process cannot end its
/// guest by raising one that the kernel has no use for.
fn no_gate(cpu: &mut Active, domain: &Domain, number: u8, length: u64) -> Result<(), KillReason> {
    let registers = cpu.registers_mut();
    registers.rip = registers.rip.wrapping_sub(length);
    let error_code = u32::from(number) << 3 | ERROR_CODE_IDT;
    inject(cpu, domain, vector::GENERAL_PROTECTION, Some(error_code))
}

fn software_interrupt(cpu: &Active) -> Option<u8> {
    let mut bytes = [0; 2];
    cpu.read_bytes(GuestVirt::new(cpu.registers().rip), &mut bytes).ok()?;
    (bytes[0] == OPCODE_INT).then_some(bytes[1])
}

/// Ends an attempt at emulation: where it was refused, the guest gets the original trap.
fn finish(
    cpu: &mut Active,
    domain: &Domain,
    emulation: Emulation,
    number: u8,
    error_code: Option<u32>,
) -> Result<(), KillReason> {
    match emulation {
        Emulation::Done => Ok(()),
        Emulation::Refused => inject(cpu, domain, number, error_code),
        Emulation::Inject { vector, error_code } => inject(cpu, domain, vector, error_code),
        Emulation::Kill(why) => Err(why),
    }
}

/// A 64-bit system call of a process.
///
/// # Errors
/// If the guest cannot be entered: why it cannot go on.
pub(crate) fn system_call(cpu: &mut Active, domain: &Domain) -> Result<(), KillReason> {
    let handler = cpu.context().handlers().syscall;
    enter(cpu, domain, handler, Extra::None, KernelEntry::SystemCall)
}

/// A system call of 32-bit code, by SYSCALL or SYSENTER. Without a handler it is an invalid opcode or a protection fault, as it is on a
/// processor where the instruction is not set up.
///
/// # Errors
/// If the guest cannot be entered: why it cannot go on.
pub(crate) fn compat_system_call(cpu: &mut Active, domain: &Domain, sysenter: bool) -> Result<(), KillReason> {
    let handlers = cpu.context().handlers();
    let handler = if sysenter { handlers.sysenter } else { handlers.syscall32 };
    if handler.is_set() {
        return enter(cpu, domain, handler, Extra::None, KernelEntry::CompatSystemCall);
    }
    if sysenter {
        inject(cpu, domain, vector::GENERAL_PROTECTION, Some(0))
    } else {
        let registers = cpu.registers_mut();
        registers.rip = registers.rip.wrapping_sub(2);
        inject(cpu, domain, vector::INVALID_OPCODE, None)
    }
}

/// Data segments that the guest had when it was here last could not be loaded. One in a page of the LDT that is not shown yet is loaded
/// now; of others the guest is told by its failsafe callback.
///
/// # Errors
/// If the guest cannot be entered: why it cannot go on.
pub(crate) fn bad_selectors(cpu: &mut Active, domain: &Domain) -> Result<(), KillReason> {
    let wanted = *cpu.context().selectors();
    for selector in [wanted.ds, wanted.es, wanted.fs, wanted.gs] {
        show_ldt_page_of(cpu, domain, selector);
    }
    if cpu.reload_selectors() {
        return Ok(());
    }
    let handler = cpu.context().handlers().failsafe;
    enter(cpu, domain, handler, Extra::Selectors(wanted), KernelEntry::BadSelector)
}

/// Enters the handler of a callback.
///
/// # Errors
/// If it cannot be entered: why the guest cannot go on.
pub(crate) fn callback(
    cpu: &mut Active,
    domain: &Domain,
    handler: Handler,
    entry: KernelEntry,
) -> Result<(), KillReason> {
    enter(cpu, domain, handler, Extra::None, entry)
}

/// Enters the guest's kernel at `handler`.
fn enter(
    cpu: &mut Active,
    domain: &Domain,
    handler: Handler,
    extra: Extra,
    entry: KernelEntry,
) -> Result<(), KillReason> {
    bounce(cpu, domain, handler, extra).map_err(|failure| KillReason::Entry { entry, failure })
}

/// Work that one emulated instruction may do.
const fn instruction_budget() -> Budget {
    Budget::new(Budget::HYPERCALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Caller;
    use crate::testing::Guest;

    #[test]
    fn a_software_interrupt_without_a_handler_is_a_protection_fault() {
        let mut guest = Guest::new(1, 3);
        let stack = guest.address(1).offset(2048).get();
        for (number, length) in [(3, 1), (4, 1), (0x80, 2)] {
            let Caller { cpu, domain, vcpu, .. } = guest.caller();
            cpu.handlers_mut().traps[13] = Handler::new(0x5000, 0, false, 0);
            (cpu.registers_mut().rip, cpu.registers_mut().rsp) = (0x1000 + length, stack);
            assert_eq!(trap(cpu, domain, vcpu, number, 0, GuestVirt::new(0)), Ok(()));
            assert_eq!(cpu.registers().rip, 0x5000);
            let frame: [u64; 4] = cpu.read(GuestVirt::new(cpu.registers().rsp)).expect("a frame");
            assert_eq!((frame[2], frame[3]), (u64::from(number) << 3 | 2, 0x1000), "{number:#x}");
        }
    }

    #[test]
    fn the_old_system_call_is_for_whom_its_handler_lets_in() {
        let mut guest = Guest::new(1, 3);
        let stack = guest.address(1).offset(2048).get();
        for (privilege, entered) in [(0, 0x5000), (3, 0x6000)] {
            let Caller { cpu, domain, vcpu, .. } = guest.caller();
            cpu.handlers_mut().traps[13] = Handler::new(0x5000, 0, false, 0);
            cpu.handlers_mut().traps[0x80] = Handler::new(0x6000, 0, false, privilege);
            (cpu.registers_mut().rip, cpu.registers_mut().rsp) = (0x1002, stack);
            assert_eq!(trap(cpu, domain, vcpu, 0x80, 0, GuestVirt::new(0)), Ok(()));
            assert_eq!(cpu.registers().rip, entered);
        }
    }
}
