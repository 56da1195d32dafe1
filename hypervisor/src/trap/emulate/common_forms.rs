//! The few encodings with which Linux changes live page-table entries, recognised without the decoder: `mov` to and `xchg` with a whole entry,
//! and `lock and` of its low byte with a constant. On one CPU it replaces the `lock` by a `ds` that means nothing. Whatever else an instruction is, or does not succeed, takes the long way, which does these
//! too; what both do is the same.

use super::decode::MAX_LENGTH;

/// What the instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// `mov [base + displacement], register`.
    Store(u8),
    /// `xchg [base + displacement], register`.
    Exchange(u8),
    /// `lock and byte [base + displacement], constant`.
    AndByte(u8),
}

/// Prefixes.
const LOCK: u8 = 0xf0;
const DS: u8 = 0x3e;

/// A recognised instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CommonForm {
    pub(super) form: Form,
    /// The register that has the address, and what is added to it.
    pub(super) base: u8,
    pub(super) displacement: u64,
    /// Bytes of the instruction.
    pub(super) length: u8,
}

/// The operand behind a base register, if that is all there is to it: the register without the bit that REX adds, the displacement and the bytes of both.
#[inline]
fn operand(rex: u8, [modrm, second, third]: [u8; 3]) -> Option<(u8, u64, u8)> {
    let (base, displacement, bytes) = match modrm & 7 {
        // a further byte, which names no index
        4 if second & 0x38 == 0x20 && rex & 2 == 0 => (second & 7, third, 2),
        4 => return None,
        base => (base, second, 1),
    };
    match modrm >> 6 {
        // 5 would mean that there is no base.
        0 if base != 5 => Some((base, 0, bytes)),
        1 => Some((base, i64::from(displacement.cast_signed()).cast_unsigned(), bytes + 1)),
        _ => None,
    }
}

/// Recognises the instruction that `code` begins with.
#[inline]
pub(super) fn recognise(code: &[u8]) -> Option<CommonForm> {
    let [first, second, third, fourth, fifth, sixth, seventh, ..] = *code.first_chunk::<MAX_LENGTH>()?;
    let (prefixes, rex, [opcode, modrm, rest @ ..]) = match (first, second) {
        (LOCK | DS, 0x40..=0x4f) => (2, second, [third, fourth, fifth, sixth, seventh]),
        (LOCK | DS, _) => (1, 0, [second, third, fourth, fifth, sixth]),
        // a 64-bit operand
        (0x48..=0x4f, 0x87 | 0x89) => (1, first, [second, third, fourth, fifth, sixth]),
        _ => return None,
    };
    let (base, displacement, bytes) = operand(rex, [modrm, rest[0], rest[1]])?;
    let register = modrm >> 3 & 7;
    let (form, constants) = match (first, opcode) {
        (LOCK | DS, 0x80) if register == 4 => (Form::AndByte(*rest.get(usize::from(bytes) - 1)?), 1),
        (LOCK | DS, _) => return None,
        (_, 0x87) => (Form::Exchange(register | rex << 1 & 8), 0),
        _ => (Form::Store(register | rex << 1 & 8), 0),
    };
    Some(CommonForm { form, base: base | rex << 3 & 8, displacement, length: prefixes + 1 + bytes + constants })
}
