//! Effects of read-modify-write instructions on the operand, the flags and the registers. All
//! functions work on copies, so an attempt can be repeated if the word in memory has changed.

use machine::context::Registers;
use machine::integers::{low_u8, low_u64};

use super::decode::{Instruction, ModRm};
use super::registers::{self, RAX, RBX, RCX, RDX, mask};

const CARRY: u64 = 1 << 0;
const PARITY: u64 = 1 << 2;
const ADJUST: u64 = 1 << 4;
const ZERO: u64 = 1 << 6;
const SIGN: u64 = 1 << 7;
const OVERFLOW: u64 = 1 << 11;
const ARITHMETIC: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;

/// An instruction that changes a memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// Stores a value.
    Store(u64),
    /// `xchg` with a register.
    Exchange(u8),
    /// `cmpxchg` with a register.
    CompareExchange(u8),
    /// `cmpxchg8b`.
    CompareExchangePair,
    /// `xadd` with a register.
    ExchangeAdd(u8),
    /// `add`, `or`, `adc`, `sbb`, `and`, `sub` or `xor`, by its number, with a value.
    Combine(u8, u64),
    /// `bts`, `btr` or `btc`, by its number in the group (5 to 7), and the bit.
    Bit(u8, u8),
    /// `inc`.
    Increment,
    /// `dec`.
    Decrement,
    /// `not`.
    Not,
    /// `neg`.
    Negate,
}

/// The operation of an instruction with a memory operand, and the distance of the operand from the
/// instruction's address, which is zero except for bit strings. `None` for instructions that do not
/// write to memory.
pub(super) fn operation(instruction: &Instruction, modrm: &ModRm, from: &Registers) -> Option<(Operation, u64)> {
    let size = instruction.size;
    let group = modrm.group();
    let immediate = instruction.immediate & mask(size);
    let register = || registers::read(from, modrm.register, size, instruction.rex);
    let operation = match instruction.opcode {
        // Number 7, `cmp`, does not write.
        opcode @ 0x00..=0x31 => Operation::Combine((opcode >> 3 & 7) as u8, register()),
        0x80 | 0x81 | 0x83 if group != 7 => Operation::Combine(group, immediate),
        0x86 | 0x87 => Operation::Exchange(modrm.register),
        0x88 | 0x89 | 0x0fc3 => Operation::Store(register()),
        0xc6 | 0xc7 if group == 0 => Operation::Store(immediate),
        0xf6 | 0xf7 if group == 2 => Operation::Not,
        0xf6 | 0xf7 if group == 3 => Operation::Negate,
        0xfe | 0xff if group == 0 => Operation::Increment,
        0xfe | 0xff if group == 1 => Operation::Decrement,
        0x0fb0 | 0x0fb1 => Operation::CompareExchange(modrm.register),
        0x0fc0 | 0x0fc1 => Operation::ExchangeAdd(modrm.register),
        0x0fc7 if group == 1 && size != 8 => Operation::CompareExchangePair,
        0x0fba if group >= 5 => Operation::Bit(group, low_u8(immediate) & (8 * size - 1)),
        opcode @ (0x0fab | 0x0fb3 | 0x0fbb) => return Some(bit_string(opcode, size, register())),
        _ => return None,
    };
    Some((operation, 0))
}

/// If the bit number is in a register, the bit may be outside the operand, before or after it.
const fn bit_string(opcode: u16, size: u8, number: u64) -> (Operation, u64) {
    let unused = 64 - 8 * size as u32;
    let number = (number << unused).cast_signed() >> unused;
    let bits = 8 * size as i64;
    let group = 5 + ((opcode - 0x0fab) >> 3 & 3) as u8;
    let bit = low_u8(number.rem_euclid(bits).cast_unsigned());
    (Operation::Bit(group, bit), (number.div_euclid(bits) * size as i64).cast_unsigned())
}

impl Operation {
    /// Whether LOCK is allowed.
    pub(super) const fn may_lock(self) -> bool {
        !matches!(self, Self::Store(_))
    }

    /// Size of the operand in bytes if the instruction's operand size is `size`.
    pub(super) const fn width(self, size: u8) -> u8 {
        if matches!(self, Self::CompareExchangePair) { 8 } else { size }
    }

    /// Applies the operation to a word of `size` bytes with the value `old`. Changes registers and
    /// flags, and returns the new value, or `None` if the word is not written. `rex` selects the
    /// set of byte registers.
    pub(super) fn apply(self, old: u64, size: u8, rex: bool, registers: &mut Registers) -> Option<u64> {
        match self {
            Self::Store(value) => Some(value),
            Self::Exchange(number) => {
                let new = registers::read(registers, number, size, rex);
                registers::write(registers, number, size, rex, old);
                Some(new)
            }
            Self::CompareExchange(number) => {
                let expected = registers::read(registers, RAX, size, true);
                subtract(expected, old, 0, size, registers);
                if expected == old {
                    return Some(registers::read(registers, number, size, rex));
                }
                registers::write(registers, RAX, size, true, old);
                None
            }
            Self::CompareExchangePair => {
                registers.rflags &= !ZERO;
                if registers::read_pair(registers) == old {
                    registers.rflags |= ZERO;
                    let high = registers::read(registers, RCX, 4, true);
                    return Some(high << 32 | registers::read(registers, RBX, 4, true));
                }
                registers::write(registers, RAX, 4, true, old);
                registers::write(registers, RDX, 4, true, old >> 32);
                None
            }
            Self::ExchangeAdd(number) => {
                let addend = registers::read(registers, number, size, rex);
                let sum = add(old, addend, 0, size, registers);
                registers::write(registers, number, size, rex, old);
                Some(sum)
            }
            Self::Combine(number, value) => Some(combine(number, old, value, size, registers)),
            Self::Bit(number, bit) => {
                let bit = 1 << bit;
                registers.rflags = registers.rflags & !CARRY | u64::from(old & bit != 0);
                Some(match number {
                    5 => old | bit,
                    6 => old & !bit,
                    _ => old ^ bit,
                })
            }
            Self::Increment => Some(keeping_carry(registers, |registers| add(old, 1, 0, size, registers))),
            Self::Decrement => Some(keeping_carry(registers, |registers| subtract(old, 1, 0, size, registers))),
            Self::Not => Some(!old & mask(size)),
            Self::Negate => Some(subtract(0, old, 0, size, registers)),
        }
    }
}

fn combine(number: u8, old: u64, value: u64, size: u8, registers: &mut Registers) -> u64 {
    let carry = registers.rflags & CARRY;
    match number {
        0 => add(old, value, 0, size, registers),
        1 => logic(old | value, size, registers),
        2 => add(old, value, carry, size, registers),
        3 => subtract(old, value, carry, size, registers),
        4 => logic(old & value, size, registers),
        5 => subtract(old, value, 0, size, registers),
        _ => logic(old ^ value, size, registers),
    }
}

fn keeping_carry(registers: &mut Registers, act: impl FnOnce(&mut Registers) -> u64) -> u64 {
    let carry = registers.rflags & CARRY;
    let result = act(registers);
    registers.rflags = registers.rflags & !CARRY | carry;
    result
}

/// Sets the flags that depend only on the result, and the flags in `others`.
fn set_flags(result: u64, size: u8, others: u64, registers: &mut Registers) {
    let mut flags = others;
    // Parity depends on the low byte only.
    if low_u8(result).count_ones().is_multiple_of(2) {
        flags |= PARITY;
    }
    if result == 0 {
        flags |= ZERO;
    }
    if result >> (8 * u32::from(size) - 1) != 0 {
        flags |= SIGN;
    }
    registers.rflags = registers.rflags & !ARITHMETIC | flags;
}

fn logic(result: u64, size: u8, registers: &mut Registers) -> u64 {
    set_flags(result, size, 0, registers);
    result
}

/// Computes `left + right + carry`. All values fit `size` bytes.
fn add(left: u64, right: u64, carry: u64, size: u8, registers: &mut Registers) -> u64 {
    let wide = u128::from(left) + u128::from(right) + u128::from(carry);
    let result = low_u64(wide) & mask(size);
    let carried = wide > u128::from(mask(size));
    finish(left, right, result, (left ^ result) & (right ^ result), carried, size, registers)
}

/// Computes `left - right - borrow`. All values fit `size` bytes.
fn subtract(left: u64, right: u64, borrow: u64, size: u8, registers: &mut Registers) -> u64 {
    let result = left.wrapping_sub(right).wrapping_sub(borrow) & mask(size);
    let borrowed = u128::from(left) < u128::from(right) + u128::from(borrow);
    finish(left, right, result, (left ^ right) & (left ^ result), borrowed, size, registers)
}

fn finish(
    left: u64,
    right: u64,
    result: u64,
    overflow: u64,
    carried: bool,
    size: u8,
    registers: &mut Registers,
) -> u64 {
    let mut flags = if carried { CARRY } else { 0 };
    flags |= (left ^ right ^ result) & ADJUST;
    if overflow >> (8 * u32::from(size) - 1) & 1 != 0 {
        flags |= OVERFLOW;
    }
    set_flags(result, size, flags, registers);
    result
}

#[cfg(test)]
mod tests;
