//! Access to general registers by number and size, and computation of addresses from them.

use machine::addr::GuestVirt;
use machine::context::{Active, Registers};

use super::decode::{Address, Instruction, Segment};

/// Register numbers.
pub(super) const RAX: u8 = 0;
pub(super) const RCX: u8 = 1;
pub(super) const RDX: u8 = 2;
pub(super) const RBX: u8 = 3;

/// The 64-bit register with this number, as a place expression.
macro_rules! register {
    ($number:expr, $($registers:tt)+) => {
        match $number & 15 {
            0 => $($registers)+.rax,
            1 => $($registers)+.rcx,
            2 => $($registers)+.rdx,
            3 => $($registers)+.rbx,
            4 => $($registers)+.rsp,
            5 => $($registers)+.rbp,
            6 => $($registers)+.rsi,
            7 => $($registers)+.rdi,
            8 => $($registers)+.r8,
            9 => $($registers)+.r9,
            10 => $($registers)+.r10,
            11 => $($registers)+.r11,
            12 => $($registers)+.r12,
            13 => $($registers)+.r13,
            14 => $($registers)+.r14,
            _ => $($registers)+.r15,
        }
    };
}

/// A mask of the low `size` bytes.
pub(super) const fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * size as u32)
}

/// Whether the byte register `number` is AH, CH, DH or BH.
const fn is_high_byte(number: u8, size: u8, rex: bool) -> bool {
    size == 1 && !rex && number >= 4 && number < 8
}

/// The value of a register operand of `size` bytes.
pub(super) fn read(registers: &Registers, number: u8, size: u8, rex: bool) -> u64 {
    if is_high_byte(number, size, rex) {
        return register!(number - 4, registers) >> 8 & 0xff;
    }
    register!(number, registers) & mask(size)
}

/// Sets a register operand of `size` bytes. A 32-bit write clears the upper half, a shorter one
/// leaves the rest unchanged.
pub(super) fn write(registers: &mut Registers, number: u8, size: u8, rex: bool, value: u64) {
    if is_high_byte(number, size, rex) {
        let slot = register!(number - 4, &mut registers);
        *slot = *slot & !0xff00 | (value & 0xff) << 8;
        return;
    }
    let slot = register!(number, &mut registers);
    *slot = match size {
        8 => value,
        4 => value & mask(4),
        _ => *slot & !mask(size) | value & mask(size),
    };
}

/// Sets EDX:EAX.
pub(super) fn write_pair(registers: &mut Registers, value: u64) {
    registers.rax = value & mask(4);
    registers.rdx = value >> 32;
}

/// Reads EDX:EAX.
pub(super) const fn read_pair(registers: &Registers) -> u64 {
    registers.rdx << 32 | registers.rax & mask(4)
}

/// The linear address of a memory operand.
pub(super) fn linear(cpu: &Active, instruction: &Instruction, address: Address) -> GuestVirt {
    let registers = cpu.registers();
    let mut sum = address.displacement;
    if let Some(base) = address.base {
        sum = sum.wrapping_add(read(registers, base, 8, true));
    }
    if let Some((index, scale)) = address.index {
        sum = sum.wrapping_add(read(registers, index, 8, true).wrapping_mul(u64::from(scale)));
    }
    if address.relative {
        sum = sum.wrapping_add(registers.rip).wrapping_add(u64::from(instruction.length));
    }
    in_segment(cpu, instruction, sum)
}

/// The linear address of an offset in the instruction's segment.
pub(super) fn in_segment(cpu: &Active, instruction: &Instruction, offset: u64) -> GuestVirt {
    let offset = if instruction.narrow { offset & mask(4) } else { offset };
    let base = instruction.segment.map_or(0, |segment| segment_base(cpu, segment));
    GuestVirt::new(base.wrapping_add(offset))
}

fn segment_base(cpu: &Active, segment: Segment) -> u64 {
    let (fs, kernel_gs, user_gs) = cpu.live_segment_bases();
    match segment {
        Segment::Fs => fs,
        Segment::Gs if cpu.context().is_in_kernel() => kernel_gs,
        Segment::Gs => user_gs,
    }
}
