//! Control and debug registers as a guest sees them.

use alloc::sync::Arc;
use machine::addr::{MachineAddr, Mfn};
use machine::context::Active;
use machine::frames::Budget;

use super::decode::{Instruction, ModRm, Operand};
use super::{Emulation, INVALID_OPCODE, PROTECTION_FAULT, complete, fault_address, registers, set_fault_address};
use crate::cpu_policy;
use crate::domain::{Domain, Vcpu};
use crate::hypercall::{CallError, Caller};
use crate::memory::mmuext;

/// Paging, alignment mask, write protection, numeric errors, extension type, monitor coprocessor, protection.
const CR0: u64 = 0x8005_0033;
const CR0_TASK_SWITCHED: u64 = 1 << 3;
/// Bits of CR0 that `lmsw` loads.
const MACHINE_STATUS: u64 = 0xf;
/// Bits of DR6 and DR7 that are always set.
const DR6_FIXED: u64 = 0xffff_0ff0;
const DR7_FIXED: u64 = 0x400;

/// CR0.
pub(super) fn read_cr0(cpu: &Active) -> u64 {
    CR0 | if cpu.context().task_switched() { CR0_TASK_SWITCHED } else { 0 }
}

/// Sets CR0, of which only TS can change; `false` if another bit would.
pub(super) fn write_cr0(cpu: &mut Active, value: u64) -> bool {
    let allowed = value & !CR0_TASK_SWITCHED == CR0;
    if allowed {
        cpu.set_task_switched(value & CR0_TASK_SWITCHED != 0);
    }
    allowed
}

/// `lmsw`: the low four bits of CR0, of which PE stays set.
pub(super) fn load_machine_status(cpu: &mut Active, value: u64) -> bool {
    let before = read_cr0(cpu);
    write_cr0(cpu, before & !(MACHINE_STATUS & !1) | value & MACHINE_STATUS)
}

/// `mov` from a control register.
pub(super) fn read_control(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = match modrm.register {
        0 => read_cr0(cpu),
        2 => fault_address(cpu),
        3 => cpu.context().kernel_root().map_or(0, |root| root.mfn().address().get()),
        4 => cpu_policy::control4(),
        1 | 5..=7 | 9.. => return INVALID_OPCODE,
        8 => return Emulation::Refused,
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
        // Bits that a guest cannot choose are ignored; for now it has no choice of the others either.
        4 => {}
        1 | 5..=7 | 9.. => return INVALID_OPCODE,
        8 => return Emulation::Refused,
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
    let mut caller = Caller { domain, vcpu, cpu, budget: Budget::new(Budget::HYPERCALL) };
    // A table partly validated by an earlier attempt keeps its progress until this one is over.
    let earlier = vcpu.promotion.lock().take();
    let outcome = mmuext::new_kernel_root(&mut caller, Mfn::containing(MachineAddr::new(value)));
    drop(earlier);
    match outcome {
        Ok(()) => complete(cpu, instruction.length),
        Err(CallError::Errno(_)) => PROTECTION_FAULT,
        Err(CallError::Continue { promotion, .. }) => {
            let former = core::mem::replace(&mut *vcpu.promotion.lock(), promotion);
            drop(former);
            Emulation::Done
        }
        Err(CallError::Kill(why)) => Emulation::Kill(why),
    }
}

/// `mov` from a debug register.
pub(super) fn read_debug(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = match modrm.register {
        index @ 0..=3 => cpu.debug_register(usize::from(index)),
        6 => cpu.debug_register(6) | DR6_FIXED,
        7 => cpu.debug_register(7) | DR7_FIXED,
        _ => return INVALID_OPCODE,
    };
    put(cpu, instruction, modrm, value)
}

/// `mov` to a debug register.
pub(super) fn write_debug(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let value = operand(cpu, modrm);
    match modrm.register {
        index @ (0..=3 | 6 | 7) if !cpu.set_debug_register(usize::from(index), value) => PROTECTION_FAULT,
        0..=3 | 6 | 7 => complete(cpu, instruction.length),
        _ => INVALID_OPCODE,
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
