//! Privileged instructions, which raise #GP(0) in ring 3. The guest kernel may use those that the
//! interface allows. User mode may use those that work without privilege on hardware.

use alloc::sync::Arc;

use abi::xen::vm_assist;
use machine::context::Active;
use machine::integers::low_u32;
use machine::speculation::MaskedIndex;

use super::decode::{Instruction, ModRm, Operand, decode};
use super::{Emulation, INVALID_OPCODE, PROTECTION_FAULT};
use super::{code, complete, control, cpuid, page_fault, ports, registers};
use crate::cpu_policy;
use crate::domain::{Domain, Vcpu};

/// The ModRM byte of `xsetbv`.
const XSETBV: u8 = 0xd1;
/// The ModRM byte of `rdtscp`.
const RDTSCP: u8 = 0xf9;
/// The result of `sgdt` and `sidt`: an empty table at a fixed address, which reveals nothing.
const TABLE_BASE: u64 = 0xffff_8000_0000_0000;

/// Handles #GP(0).
pub(crate) fn privileged(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>) -> Emulation {
    let Some(code) = code::fetch(cpu) else { return Emulation::Refused };
    // Kernels read the user GS base at each context switch, so this case does not use the decoder.
    if let [0x0f, 0x32, ..] = code.bytes()
        && cpu.context().is_in_kernel()
    {
        return read_msr(cpu, domain, vcpu, 2);
    }
    let Some(instruction) = decode(code.bytes()) else { return Emulation::Refused };
    if instruction.lock {
        return INVALID_OPCODE;
    }
    let instruction = &instruction;
    let kernel = cpu.context().is_in_kernel();
    match (instruction.opcode, instruction.modrm.as_ref()) {
        // `cli` and `sti` have no effect: events have their own mask.
        (0xfa | 0xfb, _) if has_io_privilege(cpu, domain) => complete(cpu, instruction.length),
        (opcode, _)
            if ports::is_port_access(opcode)
                && (has_io_privilege(cpu, domain) || ports::bitmap_allows(cpu, vcpu, instruction)) =>
        {
            ports::access(cpu, domain, instruction)
        }
        (0x0f00 | 0x0f01, Some(modrm)) if stores_table(instruction, modrm) => store_table(cpu, instruction, modrm),
        _ if !kernel => Emulation::Refused,
        (0x0f01, Some(ModRm { byte: XSETBV, .. })) => set_extended_states(cpu, domain, instruction),
        (0x0f06, _) => {
            cpu.set_task_switched(false);
            complete(cpu, instruction.length)
        }
        (0x0f09, _) => {
            // Without devices no cache has to be written back.
            if domain.is_privileged() {
                machine::cpu::write_back_caches();
            }
            complete(cpu, instruction.length)
        }
        (0x0f20, Some(modrm)) => control::read_control(cpu, instruction, modrm),
        (0x0f21, Some(modrm)) => control::read_debug(cpu, instruction, modrm),
        (0x0f22, Some(modrm)) => control::write_control(cpu, domain, vcpu, instruction, modrm),
        (0x0f23, Some(modrm)) => control::write_debug(cpu, instruction, modrm),
        (0x0f30, _) => write_msr(cpu, domain, vcpu, instruction),
        (0x0f32, _) => read_msr(cpu, domain, vcpu, instruction.length),
        // The guest's CR4.TSD applies to its user mode; in the processor it applies to all of ring
        // 3.
        (0x0f31, _) => {
            registers::write_pair(cpu.registers_mut(), machine::time::tsc());
            complete(cpu, instruction.length)
        }
        (0x0f01, Some(ModRm { byte: RDTSCP, .. })) => {
            registers::write_pair(cpu.registers_mut(), machine::time::tsc());
            // There is no TSC_AUX.
            cpu.registers_mut().rcx = 0;
            complete(cpu, instruction.length)
        }
        (0x0fa2, _) => {
            cpuid(cpu, domain, vcpu);
            complete(cpu, instruction.length)
        }
        _ => Emulation::Refused,
    }
}

/// Whether the guest's I/O privilege level allows its current mode to perform I/O. The kernel
/// counts as ring 1, or as ring 0 if the guest has enabled the architectural levels.
fn has_io_privilege(cpu: &Active, domain: &Domain) -> bool {
    let context = cpu.context();
    let level = match context.is_in_kernel() {
        false => 3,
        true if domain.has_assist(vm_assist::ARCHITECTURAL_IOPL) => 0,
        true => 1,
    };
    context.iopl() >= level
}

/// Emulates `xsetbv`, which requires CR4.OSXSAVE.
fn set_extended_states(cpu: &mut Active, domain: &Domain, instruction: &Instruction) -> Emulation {
    if cpu.context().control4() & cpu_policy::CONTROL4_OSXSAVE == 0 {
        return INVALID_OPCODE;
    }
    let registers = cpu.registers();
    // ECX selects the register. Only register 0 exists.
    let (number, value) = (low_u32(registers.rcx), registers::read_pair(registers));
    let known = value & !cpu_policy::extended_states(domain) == 0;
    if number != 0 || !known || !cpu.set_xcr0(value) {
        return PROTECTION_FAULT;
    }
    complete(cpu, instruction.length)
}

/// Whether the instruction is one that UMIP forbids in ring 3: sldt, str, sgdt, sidt, smsw.
fn stores_table(instruction: &Instruction, modrm: &ModRm) -> bool {
    match (instruction.opcode, modrm.group()) {
        (0x0f00, 0 | 1) | (0x0f01, 4) => true,
        (0x0f01, 0 | 1) => matches!(modrm.operand, Operand::Memory(_)),
        _ => false,
    }
}

/// Emulates such an instruction with constant results.
fn store_table(cpu: &mut Active, instruction: &Instruction, modrm: &ModRm) -> Emulation {
    let mut bytes = [0; 10];
    let length = match (instruction.opcode, modrm.group()) {
        (0x0f01, 4) => {
            bytes[..8].copy_from_slice(&control::read_cr0(cpu).to_le_bytes());
            2
        }
        (0x0f00, _) => 2,
        _ => {
            bytes[2..].copy_from_slice(&TABLE_BASE.to_le_bytes());
            10
        }
    };
    match modrm.operand {
        Operand::Register(number) => {
            let [low @ .., _, _] = bytes;
            let value = u64::from_le_bytes(low);
            registers::write(cpu.registers_mut(), number, instruction.size, true, value);
        }
        Operand::Memory(address) => {
            let address = registers::linear(cpu, instruction, address);
            if let Some(bytes) = bytes.part(..length)
                && cpu.write_bytes(address, bytes).is_err()
            {
                return page_fault(cpu, address, true);
            }
        }
    }
    complete(cpu, instruction.length)
}

/// The MSR number in ECX.
fn msr_number(cpu: &Active) -> u32 {
    // The instruction uses the low half.
    low_u32(cpu.registers().rcx)
}

fn read_msr(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>, length: u8) -> Emulation {
    let Some(value) = cpu_policy::msr::read(cpu, domain, vcpu, msr_number(cpu)) else { return PROTECTION_FAULT };
    registers::write_pair(cpu.registers_mut(), value);
    complete(cpu, length)
}

fn write_msr(cpu: &mut Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>, instruction: &Instruction) -> Emulation {
    let number = msr_number(cpu);
    let value = registers::read_pair(cpu.registers());
    if !cpu_policy::msr::write(cpu, domain, vcpu, number, value) {
        return PROTECTION_FAULT;
    }
    complete(cpu, instruction.length)
}
