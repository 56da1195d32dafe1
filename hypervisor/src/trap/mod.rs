//! Handling of a guest's traps: most are bounced to its own handlers, some are emulated or fixed
//! up.

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
use machine::vectors;

use self::bounce::{Extra, bounce};
use self::emulate::Emulation;
use crate::domain::{Domain, KernelEntry, KillReason, Vcpu};

pub(crate) use iret::iret;
pub(crate) use page_fault::show_ldt_page_of;

/// Bit of a #GP error code: the code refers to an IDT entry.
const ERROR_CODE_IDT: u32 = 2;
/// `int n`.
const OPCODE_INT: u8 = 0xcd;

/// Fast path for faults of mirror tables, and for common instructions that write to a page table in
/// kernel mode. Returns `false` without any effect in all other cases, which [`trap`] handles.
#[inline]
pub(crate) fn fast_path(cpu: &mut Active, domain: &Domain, number: u8, error_code: u32, address: GuestVirt) -> bool {
    if number != vectors::PAGE_FAULT {
        return false;
    }
    let Some(error_code) = cpu.resolve_fault(address, error_code) else { return true };
    page_fault::is_kernel_write(cpu, error_code)
        && emulate::fast_page_table_write(cpu, domain, address, &mut Budget::new(Budget::FAST))
}

/// Handles an exception of the guest.
///
/// # Errors
/// The reason for killing the domain.
pub(crate) fn trap(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    number: u8,
    error_code: u32,
    address: GuestVirt,
) -> Result<(), KillReason> {
    match number {
        vectors::PAGE_FAULT => return page_fault::page_fault(cpu, domain, vcpu, error_code, address),
        vectors::GENERAL_PROTECTION => return general_protection(cpu, domain, vcpu, error_code),
        vectors::INVALID_OPCODE => {
            let emulation = emulate::invalid_opcode(cpu, domain, vcpu);
            return finish(cpu, domain, emulation, number, None);
        }
        vectors::DEVICE_NOT_AVAILABLE => {
            // The guest set CR0.TS itself. Its handler is entered with the bit cleared.
            if !cpu.context().task_switched() {
                return Ok(());
            }
            cpu.set_task_switched(false);
        }
        vectors::DEBUG => cpu.latch_debug_status(),
        vectors::BREAKPOINT | vectors::OVERFLOW if !handler(cpu, number).is_set() => {
            return no_gate(cpu, domain, number, 1);
        }
        vectors::LEGACY_SYSCALL if !may_raise(cpu, number) => return no_gate(cpu, domain, number, 2),
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
/// If the handler cannot be entered: the reason for killing the domain.
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
    // The instruction is decoded, because some emulators report a wrong error code.
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
        return finish(cpu, domain, emulation, vectors::GENERAL_PROTECTION, Some(0));
    }
    inject(cpu, domain, vectors::GENERAL_PROTECTION, Some(error_code))
}

fn handler(cpu: &Active, number: u8) -> Handler {
    cpu.context().handlers().trap(number)
}

/// Whether code in the guest's current mode may raise this software interrupt.
fn may_raise(cpu: &Active, number: u8) -> bool {
    let from = if cpu.context().is_in_kernel() { 1 } else { 3 };
    let handler = handler(cpu, number);
    handler.is_set() && handler.privilege >= from
}

/// `int n` without a usable gate raises #GP at the instruction, `length` bytes back, as on
/// hardware, so user code cannot kill its guest.
fn no_gate(cpu: &mut Active, domain: &Domain, number: u8, length: u64) -> Result<(), KillReason> {
    let registers = cpu.registers_mut();
    registers.rip = registers.rip.wrapping_sub(length);
    let error_code = u32::from(number) << 3 | ERROR_CODE_IDT;
    inject(cpu, domain, vectors::GENERAL_PROTECTION, Some(error_code))
}

fn software_interrupt(cpu: &Active) -> Option<u8> {
    let mut bytes = [0; 2];
    cpu.read_bytes(GuestVirt::new(cpu.registers().rip), &mut bytes).ok()?;
    (bytes[0] == OPCODE_INT).then_some(bytes[1])
}

/// Completes an emulation. If it was refused, the guest gets the original trap.
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

/// Handles a 64-bit system call.
///
/// # Errors
/// If the guest kernel cannot be entered: the reason for killing the domain.
pub(crate) fn system_call(cpu: &mut Active, domain: &Domain) -> Result<(), KillReason> {
    let handler = cpu.context().handlers().syscall;
    enter(cpu, domain, handler, Extra::None, KernelEntry::SystemCall)
}

/// Handles a system call of 32-bit code by SYSCALL or SYSENTER. Without a handler it raises #UD or
/// #GP, as on a processor where the instruction is not enabled.
///
/// # Errors
/// If the guest kernel cannot be entered: the reason for killing the domain.
pub(crate) fn compat_system_call(cpu: &mut Active, domain: &Domain, sysenter: bool) -> Result<(), KillReason> {
    let handlers = cpu.context().handlers();
    let handler = if sysenter { handlers.sysenter } else { handlers.syscall32 };
    if handler.is_set() {
        return enter(cpu, domain, handler, Extra::None, KernelEntry::CompatSystemCall);
    }
    if sysenter {
        inject(cpu, domain, vectors::GENERAL_PROTECTION, Some(0))
    } else {
        let registers = cpu.registers_mut();
        registers.rip = registers.rip.wrapping_sub(2);
        inject(cpu, domain, vectors::INVALID_OPCODE, None)
    }
}

/// Handles data segment selectors that could not be loaded when the guest was entered. Selectors in
/// a page of the LDT that is not mapped yet are loaded now. For others the failsafe callback is
/// entered.
///
/// # Errors
/// If the guest kernel cannot be entered: the reason for killing the domain.
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
/// If the handler cannot be entered: the reason for killing the domain.
pub(crate) fn callback(
    cpu: &mut Active,
    domain: &Domain,
    handler: Handler,
    entry: KernelEntry,
) -> Result<(), KillReason> {
    enter(cpu, domain, handler, Extra::None, entry)
}

/// Enters the guest kernel at `handler`.
fn enter(
    cpu: &mut Active,
    domain: &Domain,
    handler: Handler,
    extra: Extra,
    entry: KernelEntry,
) -> Result<(), KillReason> {
    bounce(cpu, domain, handler, extra).map_err(|failure| KillReason::Entry { entry, failure })
}

/// The budget for one emulated instruction.
const fn instruction_budget() -> Budget {
    Budget::new(Budget::HYPERCALL)
}

#[cfg(test)]
mod tests;
