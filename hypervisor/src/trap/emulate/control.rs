//! Control and debug registers as a guest sees them.

use alloc::sync::Arc;
use machine::addr::{MachineAddr, Mfn};
use machine::context::Active;
use machine::frames::Budget;

use super::decode::{Instruction, ModRm, Operand};
use super::{Emulation, INVALID_OPCODE, PROTECTION_FAULT, complete, fault_address, registers, set_fault_address};
use crate::cpu_policy;
use crate::domain::{Attempt, Domain, Vcpu};
use crate::hypercall::{CallError, Caller};
use crate::memory::mmuext;

/// Paging, alignment mask, write protection, numeric errors, extension type, monitor coprocessor, protection.
const CR0: u64 = 0x8005_0033;
const CR0_TASK_SWITCHED: u64 = 1 << 3;
const CR4_DEBUG_EXTENSIONS: u64 = 1 << 3;
/// Bits of DR6 and DR7 that are always set.
const DR6_FIXED: u64 = 0xffff_0ff0;
const DR7_FIXED: u64 = 0x400;

/// CR0 with its one bit that changes.
pub(crate) const fn control0(task_switched: bool) -> u64 {
    CR0 | if task_switched { CR0_TASK_SWITCHED } else { 0 }
}

/// CR0.
pub(super) fn read_cr0(cpu: &Active) -> u64 {
    control0(cpu.context().task_switched())
}

/// Sets CR0, of which only TS can change; `false` if another bit would.
pub(super) fn write_cr0(cpu: &mut Active, value: u64) -> bool {
    let allowed = value & !CR0_TASK_SWITCHED == CR0;
    if allowed {
        cpu.set_task_switched(value & CR0_TASK_SWITCHED != 0);
    }
    allowed
}

/// `mov` from a control register.
pub(super) fn read_control(cpu: &mut Active, vcpu: &Vcpu, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = match modrm.register {
        0 => read_cr0(cpu),
        2 => fault_address(cpu),
        3 => cpu.context().kernel_root().map_or(0, |root| root.mfn().address().get()),
        4 => cpu_policy::control4(vcpu),
        // CR8 is the priority of a local APIC that a guest has not got.
        _ => return Emulation::Refused,
    };
    put(cpu, instruction, modrm, value)
}

/// `mov` to a control register.
pub(super) fn write_control(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    instruction: &Instruction,
    modrm: &ModRm,
) -> Emulation {
    let value = operand(cpu, modrm);
    match modrm.register {
        0 if !write_cr0(cpu, value) => return PROTECTION_FAULT,
        0 => {}
        2 => set_fault_address(cpu, value),
        3 => return write_root(cpu, domain, vcpu, instruction, value),
        4 => cpu_policy::set_control4(vcpu, value),
        _ => return Emulation::Refused,
    }
    complete(cpu, instruction.length)
}

/// A new root table for the kernel, as by `MMUEXT_NEW_BASEPTR`.
fn write_root(
    cpu: &mut Active,
    domain: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    instruction: &Instruction,
    value: u64,
) -> Emulation {
    let attempt = Attempt::Instruction(cpu.registers().rip);
    let mut caller = Caller { domain, vcpu, cpu, budget: Budget::new(Budget::HYPERCALL) };
    let outcome = mmuext::new_kernel_root(&mut caller, Mfn::containing(MachineAddr::new(value)));
    if let Err(CallError::Continue { promotion: Some(promotion), .. }) = outcome {
        vcpu.keep_promotion(attempt, promotion);
        return Emulation::Done;
    }
    vcpu.end_attempt(attempt);
    match outcome {
        Ok(()) => complete(cpu, instruction.length),
        Err(CallError::Errno(_)) => PROTECTION_FAULT,
        Err(CallError::Continue { .. }) => Emulation::Done,
        Err(CallError::Kill(why)) => Emulation::Kill(why),
    }
}

/// Which debug register a number means: 4 and 5 are other names of 6 and 7, unless the guest has chosen them not to be.
fn debug_number(vcpu: &Vcpu, number: u8) -> Option<usize> {
    let extensions = cpu_policy::control4(vcpu) & CR4_DEBUG_EXTENSIONS != 0;
    match number {
        0..=3 | 6 | 7 => Some(usize::from(number)),
        4 | 5 if !extensions => Some(usize::from(number + 2)),
        _ => None,
    }
}

/// `mov` from a debug register.
pub(super) fn read_debug(cpu: &mut Active, vcpu: &Vcpu, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let Some(number) = debug_number(vcpu, modrm.register) else { return INVALID_OPCODE };
    let fixed = match number {
        6 => DR6_FIXED,
        7 => DR7_FIXED,
        _ => 0,
    };
    let value = cpu.debug_register(number) | fixed;
    put(cpu, instruction, modrm, value)
}

/// `mov` to a debug register.
pub(super) fn write_debug(cpu: &mut Active, vcpu: &Vcpu, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = operand(cpu, modrm);
    match debug_number(vcpu, modrm.register) {
        None => INVALID_OPCODE,
        Some(number) if cpu.set_debug_register(number, value) => complete(cpu, instruction.length),
        Some(_) => PROTECTION_FAULT,
    }
}

/// The general register of a move, by its number.
const fn general(modrm: &ModRm) -> u8 {
    match modrm.operand {
        Operand::Register(number) => number,
        // Not decoded for these moves.
        Operand::Memory(_) => 0,
    }
}

fn operand(cpu: &Active, modrm: &ModRm) -> u64 {
    registers::read(cpu.registers(), general(modrm), 8, true)
}

fn put(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm, value: u64) -> Emulation {
    registers::write(cpu.registers_mut(), general(modrm), 8, true, value);
    complete(cpu, instruction.length)
}
