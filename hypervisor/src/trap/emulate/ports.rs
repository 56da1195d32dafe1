//! `in` and `out` of a domain that has no ports: for whoever has the I/O privilege, there is a machine without devices. Reads give ones, writes go
//! nowhere. Linux probes for PCI this way before it asks what it runs on.

use machine::context::Active;

use super::decode::Instruction;
use super::{Emulation, complete};

/// Whether the opcode is `in` or `out` with a register (the string forms are not: nobody probes with them).
pub(super) const fn is_port_access(opcode: u16) -> bool {
    matches!(opcode, 0xe4..=0xe7 | 0xec..=0xef)
}

/// Performs the instruction. Bit 1 of the opcode tells `out` from `in`.
pub(super) fn access(cpu: &mut Active, instruction: &Instruction) -> Emulation {
    if instruction.opcode & 2 == 0 {
        let registers = cpu.registers_mut();
        // Ports are at most 32 bits wide; a 32-bit result clears the upper half.
        registers.rax = match (instruction.opcode & 1, instruction.size) {
            (0, _) => registers.rax | 0xff,
            (_, 2) => registers.rax | 0xffff,
            _ => 0xffff_ffff,
        };
    }
    complete(cpu, instruction.length)
}
