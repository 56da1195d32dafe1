//! Results and flags, compared with a model that uses wide signed numbers and single bits.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::rounds;

/// Result and flags of `left + right + carry`, or of `left - right - carry`, by definition.
fn model_sum(left: u64, right: u64, carry: bool, minus: bool, size: u8, flags: u64) -> (u64, u64) {
    let bits = 8 * u32::from(size);
    let signed = |value: u64| i128::from((value << (64 - bits)).cast_signed() >> (64 - bits));
    let (carry, sign) = (i128::from(carry), if minus { -1 } else { 1 });
    let unsigned = i128::from(left) + sign * (i128::from(right) + carry);
    let exact = signed(left) + sign * (signed(right) + carry);
    let low = i128::from(left & 15) + sign * (i128::from(right & 15) + carry);
    let result = (unsigned & i128::from(mask(size))) as u64;
    let mut after = flags & !ARITHMETIC | model_result_flags(result, size);
    for (flag, set) in [
        (CARRY, unsigned < 0 || unsigned > i128::from(mask(size))),
        (OVERFLOW, exact != signed(result)),
        (ADJUST, !(0..16).contains(&low)),
    ] {
        after |= if set { flag } else { 0 };
    }
    (result, after)
}

fn model_result_flags(result: u64, size: u8) -> u64 {
    let parity = (0..8).filter(|bit| result >> bit & 1 != 0).count() % 2 == 0;
    let sign = result >> (8 * u32::from(size) - 1) & 1 != 0;
    [(PARITY, parity), (ZERO, result == 0), (SIGN, sign)].iter().map(|&(flag, set)| if set { flag } else { 0 }).sum()
}

/// Result and flags of two-operand instruction `number` out of eight.
fn model_combine(number: u8, left: u64, right: u64, size: u8, flags: u64) -> (u64, u64) {
    let carry = flags & CARRY != 0;
    let logic = |result: u64| (result, flags & !ARITHMETIC | model_result_flags(result, size));
    match number {
        0 => model_sum(left, right, false, false, size, flags),
        1 => logic(left | right),
        2 => model_sum(left, right, carry, false, size, flags),
        3 => model_sum(left, right, carry, true, size, flags),
        4 => logic(left & right),
        5 => model_sum(left, right, false, true, size, flags),
        _ => logic(left ^ right),
    }
}

fn size() -> impl Strategy<Value = u8> {
    prop::sample::select(&[1u8, 2, 4, 8][..])
}

/// Values near the limits are as frequent as all others.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0u32..64, -1i64..=1).prop_map(|(bit, near)| (1u64 << bit).wrapping_add_signed(near)),
        0u64..4
    ]
}

fn registers(rax: u64, rcx: u64, rflags: u64) -> Registers {
    let mut registers = Registers::default();
    (registers.rax, registers.rcx, registers.rflags) = (rax, rcx, rflags & (ARITHMETIC | 0x202));
    registers
}

/// All general registers, to check that no others have changed.
fn all(registers: &Registers) -> Vec<u64> {
    (0..16).map(|number| registers::read(registers, number, 8, true)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(4000)))]

    #[test]
    fn sums_and_logic(number in 0u8..7, size in size(), old in value(), right in value(), flags: u64) {
        let (old, right) = (old & mask(size), right & mask(size));
        let before = registers(7, 8, flags);
        let mut after = before;
        let new = Operation::Combine(number, right).apply(old, size, true, &mut after);
        let (result, rflags) = model_combine(number, old, right, size, before.rflags);
        prop_assert_eq!(new, Some(result));
        prop_assert_eq!(after.rflags, rflags);
        prop_assert_eq!(all(&after), all(&before));
    }

    #[test]
    fn one_operand(size in size(), old in value(), flags: u64) {
        let old = old & mask(size);
        let before = registers(7, 8, flags);
        let carry = before.rflags & CARRY;
        for (operation, (result, rflags)) in [
            (Operation::Increment, model_sum(old, 1, false, false, size, before.rflags)),
            (Operation::Decrement, model_sum(old, 1, false, true, size, before.rflags)),
        ] {
            let mut after = before;
            prop_assert_eq!(operation.apply(old, size, true, &mut after), Some(result));
            prop_assert_eq!(after.rflags, rflags & !CARRY | carry);
        }
        let mut after = before;
        let (result, rflags) = model_sum(0, old, false, true, size, before.rflags);
        prop_assert_eq!(Operation::Negate.apply(old, size, true, &mut after), Some(result));
        prop_assert_eq!(after.rflags, rflags);
        let mut after = before;
        prop_assert_eq!(Operation::Not.apply(old, size, true, &mut after), Some(mask(size) - old));
        prop_assert_eq!(after.rflags, before.rflags);
    }

    #[test]
    fn exchanges(size in size(), old in value(), rax in value(), rcx in value(), flags: u64, equal: bool) {
        let old = old & mask(size);
        let rax = if equal { rax & !mask(size) | old } else { rax };
        let before = registers(rax, rcx, flags);

        let mut after = before;
        prop_assert_eq!(Operation::Exchange(RCX).apply(old, size, true, &mut after), Some(rcx & mask(size)));
        let loaded = |register: u64| if size >= 4 { old } else { register & !mask(size) | old };
        prop_assert_eq!((after.rcx, after.rflags), (loaded(rcx), before.rflags));

        let mut after = before;
        let new = Operation::CompareExchange(RCX).apply(old, size, true, &mut after);
        let (_, rflags) = model_sum(rax & mask(size), old, false, true, size, before.rflags);
        let same = rax & mask(size) == old;
        prop_assert_eq!(new, same.then_some(rcx & mask(size)));
        prop_assert_eq!(after.rax, if same { rax } else { loaded(rax) });
        prop_assert_eq!((after.rcx, after.rflags), (rcx, rflags));
        prop_assert_eq!(rflags & ZERO != 0, same);

        let mut after = before;
        let (sum, rflags) = model_sum(old, rcx & mask(size), false, false, size, before.rflags);
        prop_assert_eq!(Operation::ExchangeAdd(RCX).apply(old, size, true, &mut after), Some(sum));
        prop_assert_eq!((after.rax, after.rcx, after.rflags), (rax, loaded(rcx), rflags));
    }

    #[test]
    fn pairs(old in value(), other in value(), new: u64, flags: u64, equal: bool) {
        let expected = if equal { old } else { other };
        let mut before = registers(expected & 0xffff_ffff, new >> 32 | 5 << 40, flags);
        (before.rdx, before.rbx) = (expected >> 32, new & 0xffff_ffff | 6 << 40);
        let mut after = before;
        let result = Operation::CompareExchangePair.apply(old, 8, true, &mut after);
        prop_assert_eq!(result, (expected == old).then_some(new));
        let zero = if expected == old { ZERO } else { 0 };
        prop_assert_eq!(after.rflags, before.rflags & !ZERO | zero);
        prop_assert_eq!((after.rdx, after.rax), (old >> 32, old & 0xffff_ffff));
        prop_assert_eq!((after.rcx, after.rbx), (before.rcx, before.rbx));
    }

    #[test]
    fn bits(size in prop::sample::select(&[2u8, 4, 8][..]), group in 5u8..8, bit in 0u8..64, old: u64, flags: u64) {
        let (old, bit) = (old & mask(size), bit % (8 * size));
        let before = registers(7, 8, flags);
        let mut after = before;
        let new = Operation::Bit(group, bit).apply(old, size, true, &mut after);
        let set = old >> bit & 1 != 0;
        let wanted = match group {
            5 => true,
            6 => false,
            _ => !set,
        };
        prop_assert_eq!(new, Some(if wanted == set { old } else { old ^ 1 << bit }));
        prop_assert_eq!(after.rflags, before.rflags & !CARRY | u64::from(set));
    }

    #[test]
    fn bit_strings(opcode in prop::sample::select(&[0x0fabu16, 0x0fb3, 0x0fbb][..]), size in prop::sample::select(&[2u8, 4, 8][..]), number: u64) {
        let (Operation::Bit(_, bit), distance) = bit_string(opcode, size, number & mask(size)) else {
            return Err(TestCaseError::fail("not a bit"));
        };
        prop_assert!(bit < 8 * size);
        let unused = 64 - 8 * u32::from(size);
        let signed = (number << unused).cast_signed() >> unused;
        prop_assert_eq!(i128::from(distance.cast_signed()) * 8 + i128::from(bit), i128::from(signed));
        prop_assert_eq!(distance % u64::from(size), 0);
    }
}

#[test]
fn byte_registers_are_parts_of_the_right_registers() {
    let mut registers = registers(0x1122_3344_5566_7788, 0, 0);
    assert_eq!(registers::read(&registers, 4, 1, false), 0x77, "AH");
    assert_eq!(registers::read(&registers, 4, 1, true), 0, "SPL");
    registers::write(&mut registers, 4, 1, false, 0xaa);
    assert_eq!(registers.rax, 0x1122_3344_5566_aa88);
    registers::write(&mut registers, 0, 2, false, 0xbbcc);
    assert_eq!(registers.rax, 0x1122_3344_5566_bbcc);
    registers::write(&mut registers, 0, 4, false, 0xdd);
    assert_eq!(registers.rax, 0xdd, "a 32-bit write clears the upper half");
    registers::write(&mut registers, 4, 1, true, 0xee);
    assert_eq!((registers.rax, registers.rsp), (0xdd, 0xee));
}
