//! Emulation of accesses to control and debug registers.

use abi::errno::Errno;
use alloc::sync::Arc;
use machine::addr::{MachineAddr, Mfn};
use machine::context::Active;
use machine::frames::Budget;

use super::decode::{Instruction, ModRm, Operand};
use super::{Emulation, INVALID_OPCODE, PROTECTION_FAULT, complete, fault_address, registers, set_fault_address};
use crate::call::{CallError, Caller, Continuation};
use crate::cpu_policy;
use crate::cpu_policy::registers::{CONTROL0_CHOICE, CONTROL0_FIXED};
use crate::domain::{Attempt, Domain, Vcpu};
use crate::memory::mmuext;
use crate::trap::debug_registers;

/// The value of CR0. Only TS varies.
pub(crate) const fn control0(task_switched: bool) -> u64 {
    CONTROL0_FIXED | if task_switched { CONTROL0_CHOICE } else { 0 }
}

/// Reads CR0.
pub(super) fn read_cr0(cpu: &Active) -> u64 {
    control0(cpu.context().task_switched())
}

/// Writes CR0. Returns `false` if a bit other than TS would change.
pub(super) fn write_cr0(cpu: &mut Active, value: u64) -> bool {
    let allowed = value & !CONTROL0_CHOICE == CONTROL0_FIXED;
    if allowed {
        cpu.set_task_switched(value & CONTROL0_CHOICE != 0);
    }
    allowed
}

/// Emulates `mov` from a control register.
pub(super) fn read_control(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = match modrm.register {
        0 => read_cr0(cpu),
        2 => fault_address(cpu),
        3 => cpu.context().kernel_root().map_or(0, |root| root.mfn().address().get()),
        4 => cpu_policy::control4(cpu.context()),
        // CR8 is the priority of the local APIC, which a guest does not have.
        _ => return Emulation::Refused,
    };
    put(cpu, instruction, modrm, value)
}

/// Emulates `mov` to a control register.
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
        4 => cpu.set_control4(cpu_policy::control4_choice(domain, value)),
        _ => return Emulation::Refused,
    }
    complete(cpu, instruction.length)
}

/// Sets the kernel's root table, like `MMUEXT_NEW_BASEPTR`.
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
    if let Err(CallError::Continue(Continuation { promotion: Some(promotion), .. })) = outcome {
        vcpu.keep_promotion(attempt, promotion);
        return Emulation::Done;
    }
    vcpu.end_attempt(|| attempt);
    match outcome {
        Ok(()) => complete(cpu, instruction.length),
        Err(CallError::Errno(_)) => PROTECTION_FAULT,
        Err(CallError::Continue(_)) => Emulation::Done,
        Err(CallError::Kill(why)) => Emulation::Kill(why),
    }
}

/// Emulates `mov` from a debug register.
pub(super) fn read_debug(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    match debug_registers::get(cpu, modrm.register.into()) {
        Ok(value) => put(cpu, instruction, modrm, value),
        Err(_) => INVALID_OPCODE,
    }
}

/// Emulates `mov` to a debug register.
pub(super) fn write_debug(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = operand(cpu, modrm);
    match debug_registers::set(cpu, modrm.register.into(), value) {
        Ok(()) => complete(cpu, instruction.length),
        Err(Errno::ENODEV) => INVALID_OPCODE,
        Err(_) => PROTECTION_FAULT,
    }
}

/// The number of the general register operand.
const fn general(modrm: &ModRm) -> u8 {
    match modrm.operand {
        Operand::Register(number) => number,
        // The decoder never returns memory operands for these instructions.
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
