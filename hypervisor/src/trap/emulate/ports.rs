//! Emulation of `in`, `out` and their string forms. For domains with I/O privilege other than the
//! hardware domain there are no devices: reads return ones, writes are ignored. Linux probes for
//! PCI this way before it detects the hypervisor.

use core::sync::atomic::Ordering;

use machine::addr::GuestVirt;
use machine::context::Active;
use machine::hardware::Hardware;
use machine::hardware::ports::Width;
use machine::integers::{low_u8, low_u16, low_u32};
use machine::speculation::MaskedIndex;

use super::decode::Instruction;
use super::registers::{self, RAX};
use super::{Emulation, complete_with, is_stepping, page_fault};
use crate::cpu_policy::CONTROL4_DEBUG_EXTENSIONS;
use crate::domain::{Domain, Vcpu};
use crate::hardware;

/// Iterations of a string instruction before the pCPU checks for other work.
const MAX_REPEATS: u64 = 512;
const FLAG_DIRECTION: u64 = 1 << 10;

/// Whether the opcode is `in`, `out`, or one of their string forms.
pub(super) const fn is_port_access(opcode: u16) -> bool {
    matches!(opcode, 0x6c..=0x6f | 0xe4..=0xe7 | 0xec..=0xef)
}

const fn is_string(opcode: u16) -> bool {
    opcode < 0xe4
}

/// Whether the I/O permission bitmap of user mode allows the instruction.
pub(super) fn bitmap_allows(cpu: &mut Active, vcpu: &Vcpu, instruction: &Instruction) -> bool {
    let (address, count) = (vcpu.port_bitmap.0.load(Ordering::Relaxed), vcpu.port_bitmap.1.load(Ordering::Relaxed));
    let (port, width) = operands(cpu, instruction);
    let last = u32::from(port) + u32::from(width.bytes()) - 1;
    if last >= count {
        return false;
    }
    // The bitmap is in the kernel's address space. A user root table may not map it.
    let from_process = !cpu.context().is_in_kernel();
    if from_process {
        cpu.enter_kernel();
    }
    let byte = |port: u32| cpu.read::<u8>(GuestVirt::new(address).offset(u64::from(port / 8)));
    let is_clear = |port: u32| byte(port).is_ok_and(|byte| byte & 1 << (port % 8) == 0);
    let allowed = (u32::from(port)..=last).all(is_clear);
    if from_process {
        cpu.enter_user();
    }
    allowed
}

/// The lowest port that the instruction accesses, and the width of an access.
pub(super) fn operands(cpu: &Active, instruction: &Instruction) -> (u16, Width) {
    let port = match instruction.opcode {
        // The port is the immediate byte.
        0xe4..=0xe7 => low_u8(instruction.immediate).into(),
        _ => low_u16(cpu.registers().rdx),
    };
    // There is no 64-bit form; REX.W is ignored.
    let width = match instruction.size {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Double,
    };
    (port, width)
}

/// Emulates the instruction. Bit 1 of the opcode distinguishes `out` from `in`.
pub(super) fn access(cpu: &mut Active, domain: &Domain, instruction: &Instruction) -> Emulation {
    let (port, width) = operands(cpu, instruction);
    let ports = Ports { hardware: hardware::of(domain), port, width };
    let breakpoints = breakpoints(cpu, port, width);
    if is_string(instruction.opcode) {
        return access_memory(cpu, &ports, instruction, breakpoints);
    }
    // A 32-bit result clears the upper half.
    let size = low_u8(width.bytes().into());
    if instruction.opcode & 2 == 0 {
        let value = ports.read();
        registers::write(cpu.registers_mut(), RAX, size, true, value.into());
    } else {
        ports.write(low_u32(registers::read(cpu.registers(), RAX, size, true)));
    }
    complete_with(cpu, instruction.length, breakpoints)
}

/// The I/O breakpoints that an access hits, as bits of DR6.
fn breakpoints(cpu: &Active, port: u16, width: Width) -> u64 {
    if cpu.context().control4() & CONTROL4_DEBUG_EXTENSIONS == 0 {
        return 0;
    }
    cpu.port_breakpoints(port, width.bytes())
}

/// A port of the machine, or without a device.
struct Ports {
    hardware: Option<&'static Hardware>,
    port: u16,
    width: Width,
}

impl Ports {
    fn read(&self) -> u32 {
        self.hardware.map_or(self.width.ones(), |hardware| hardware.port_read(self.port, self.width))
    }

    fn write(&self, value: u32) {
        if let Some(hardware) = self.hardware {
            hardware.port_write(self.port, self.width, value);
        }
    }
}

/// Emulates `ins` and `outs`. If a repetition stops early, the registers contain the progress, and
/// the guest executes the rest. Single steps and breakpoints are reported after each iteration.
fn access_memory(cpu: &mut Active, ports: &Ports, instruction: &Instruction, breakpoints: u64) -> Emulation {
    if instruction.narrow {
        return Emulation::Refused;
    }
    let size = usize::from(ports.width.bytes());
    let step = match cpu.registers().rflags & FLAG_DIRECTION {
        0 => size as u64,
        _ => (size as u64).wrapping_neg(),
    };
    let is_out = instruction.opcode & 2 != 0;
    let count = if instruction.repeat { cpu.registers().rcx } else { 1 };
    let most = if breakpoints != 0 || is_stepping(cpu) { 1 } else { MAX_REPEATS };
    for _ in 0..count.min(most) {
        let mut bytes = [0; 4];
        let Some(bytes) = bytes.part_mut(..size) else { return Emulation::Refused };
        let address = if is_out {
            registers::in_segment(cpu, instruction, cpu.registers().rsi)
        } else {
            // The segment of the destination is fixed.
            GuestVirt::new(cpu.registers().rdi)
        };
        let moved = if is_out { output(cpu, ports, address, bytes) } else { input(cpu, ports, address, bytes) };
        if !moved {
            return page_fault(cpu, address, !is_out);
        }
        let registers = cpu.registers_mut();
        let pointer = if is_out { &mut registers.rsi } else { &mut registers.rdi };
        *pointer = pointer.wrapping_add(step);
        if instruction.repeat {
            registers.rcx = registers.rcx.wrapping_sub(1);
        }
    }
    // A repetition with count zero hits no breakpoint.
    let breakpoints = if count == 0 { 0 } else { breakpoints };
    match count > most {
        true if most == MAX_REPEATS => Emulation::Done,
        rest => complete_with(cpu, if rest { 0 } else { instruction.length }, breakpoints),
    }
}

fn output(cpu: &Active, ports: &Ports, address: GuestVirt, bytes: &mut [u8]) -> bool {
    if cpu.read_bytes(address, bytes).is_err() {
        return false;
    }
    ports.write(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)));
    true
}

/// Reading a device may have side effects, so the destination is checked first.
fn input(cpu: &Active, ports: &Ports, address: GuestVirt, bytes: &mut [u8]) -> bool {
    if cpu.read_bytes(address, bytes).is_err() || cpu.write_bytes(address, bytes).is_err() {
        return false;
    }
    bytes.iter_mut().zip(ports.read().to_le_bytes()).for_each(|(byte, read)| *byte = read);
    cpu.write_bytes(address, bytes).is_ok()
}
