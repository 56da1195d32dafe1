//! Compares the decoder with a complete one.

use std::vec::Vec;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
use machine::context::Registers;
use proptest::prelude::*;

use super::super::arithmetic::operation;
use super::*;
use crate::testing::rounds;

/// All opcodes that the decoder knows.
fn known() -> Vec<u16> {
    (0..=0xff).chain(0x0f00..=0x0fff).filter(|&opcode| shape(opcode).is_some()).collect()
}

fn instruction_bytes() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(&[0x66u8, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x3e, 0x40, 0x48, 0x4f][..]);
    (
        prop::collection::vec(prefix, 0..4),
        prop::option::of(0x40u8..0x50),
        prop::sample::select(known()),
        prop::collection::vec(any::<u8>(), 12),
    )
        .prop_map(|(mut bytes, rex, opcode, tail)| {
            bytes.extend(rex);
            let [high, low] = opcode.to_be_bytes();
            bytes.extend((high != 0).then_some(high));
            bytes.push(low);
            bytes.extend(tail);
            bytes.truncate(MAX_LENGTH);
            bytes
        })
}

/// The number of a general register of any size, as used by `registers::read`.
fn number(register: Register) -> Option<u8> {
    (register != Register::None).then(|| register.full_register().number() as u8)
}

/// Privileged instructions without a ModRM byte, and moves of control and debug registers.
fn privileged(opcode: u16) -> Option<Mnemonic> {
    Some(match opcode {
        0xf4 => Mnemonic::Hlt,
        0xfa => Mnemonic::Cli,
        0xfb => Mnemonic::Sti,
        0xe4 | 0xe5 | 0xec | 0xed => Mnemonic::In,
        0xe6 | 0xe7 | 0xee | 0xef => Mnemonic::Out,
        0x0f06 => Mnemonic::Clts,
        0x0f08 => Mnemonic::Invd,
        0x0f09 => Mnemonic::Wbinvd,
        0x0f30 => Mnemonic::Wrmsr,
        0x0f31 => Mnemonic::Rdtsc,
        0x0f32 => Mnemonic::Rdmsr,
        0x0f33 => Mnemonic::Rdpmc,
        0x0fa2 => Mnemonic::Cpuid,
        0x0f20..=0x0f23 => Mnemonic::Mov,
        _ => return None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(20_000)))]

    #[test]
    fn decoded_instructions_match_a_complete_decoder(bytes in instruction_bytes()) {
        // The users of operands check whether these exist.
        let other = Decoder::new(64, &bytes, DecoderOptions::NO_INVALID_CHECK).decode();
        let Some(instruction) = decode(&bytes) else { return Ok(()) };
        let memory = match instruction.modrm {
            Some(ModRm { operand: Operand::Memory(address), .. }) => Some(address),
            _ => None,
        };
        let writes = instruction.modrm.and_then(|modrm| operation(&instruction, &modrm, &Registers::default()));
        if let Some(mnemonic) = privileged(instruction.opcode) {
            prop_assert_eq!(usize::from(instruction.length), other.len());
            // `lock mov cr0` names CR8 on some processors; it is refused. WBNOINVD is executed as
            // WBINVD.
            let same = other.mnemonic() == mnemonic || other.mnemonic() == Mnemonic::Wbnoinvd;
            prop_assert!(same || instruction.lock, "{:?}", other);
        } else if let (Some(address), Some(_)) = (memory, writes) {
            prop_assert!(!other.is_invalid(), "{:x?}", bytes);
            prop_assert_eq!(usize::from(instruction.length), other.len());
            prop_assert_eq!(other.op0_kind(), OpKind::Memory);
            prop_assert_eq!(instruction.lock, other.has_lock_prefix() );
            let relative = other.is_ip_rel_memory_operand();
            prop_assert_eq!(address.relative, relative);
            if !relative {
                prop_assert_eq!(address.base, number(other.memory_base()));
                let mask = if instruction.narrow { 0xffff_ffff } else { u64::MAX };
                prop_assert_eq!(address.displacement & mask, other.memory_displacement64() & mask);
            }
            let index = number(other.memory_index()).map(|index| (index, other.memory_index_scale() as u8));
            prop_assert_eq!(address.index, index);
            let segment = match other.segment_prefix() {
                Register::FS => Some(Segment::Fs),
                Register::GS => Some(Segment::Gs),
                _ => None,
            };
            // The other decoder uses the last of all segment prefixes.
            if other.segment_prefix() == Register::None || segment.is_some() {
                prop_assert_eq!(instruction.segment, segment);
            }
            let size = writes.map(|(operation, _)| usize::from(operation.width(instruction.size)));
            prop_assert_eq!(size, Some(other.memory_size().size()));
            if other.op_count() > 1 && other.op1_kind() == OpKind::Register {
                let high = matches!(other.op1_register(), Register::AH | Register::CH | Register::DH | Register::BH);
                let due = number(other.op1_register()).map(|number| if high { number + 4 } else { number });
                prop_assert_eq!(instruction.modrm.map(|modrm| modrm.register), due);
                prop_assert!(!high || !instruction.rex);
            }
        }
    }

    #[test]
    fn decoding_depends_only_on_the_instructions_own_bytes(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Some(instruction) = decode(&bytes) {
            prop_assert!(usize::from(instruction.length) <= bytes.len().min(MAX_LENGTH));
            // The result does not depend on the following bytes.
            prop_assert_eq!(decode(&bytes[..usize::from(instruction.length)]), Some(instruction));
            prop_assert_eq!(decode(&bytes[..usize::from(instruction.length) - 1]), None);
        }
    }
}

#[test]
fn an_instruction_has_at_most_15_bytes() {
    let mut bytes = [0x66; 17];
    (bytes[13], bytes[14]) = (0x0f, 0xa2);
    assert_eq!(decode(&bytes).map(|instruction| instruction.length), Some(15));
    (bytes[13], bytes[14], bytes[15]) = (0x66, 0x0f, 0xa2);
    assert_eq!(decode(&bytes), None);
}
