//! Recognises the few encodings with which Linux changes live page-table entries, without the
//! decoder: `mov` to and `xchg` with a whole entry, and `lock and` of its low byte with a constant.
//! (On one CPU Linux replaces the `lock` prefix by a `ds` prefix, which has no effect.) All other
//! instructions, and failures, take the slow path. It also handles these encodings, with the same
//! result.

use machine::speculation::MaskedIndex;

use super::decode::MAX_LENGTH;

/// The operation of a recognised instruction.
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
    /// The register that contains the address, and the displacement.
    pub(super) base: u8,
    pub(super) displacement: u64,
    /// Length of the instruction in bytes.
    pub(super) length: u8,
}

/// Decodes a memory operand that consists of a base register and a displacement of at most one
/// byte. Returns the register without its REX bit, the displacement and the number of bytes.
#[inline]
fn operand(rex: u8, [modrm, second, third]: [u8; 3]) -> Option<(u8, u64, u8)> {
    let (base, displacement, bytes) = match modrm & 7 {
        // A SIB byte without an index.
        4 if second & 0x38 == 0x20 && rex & 2 == 0 => (second & 7, third, 2),
        4 => return None,
        base => (base, second, 1),
    };
    match modrm >> 6 {
        // With base 5 there would be no base register.
        0 if base != 5 => Some((base, 0, bytes)),
        1 => Some((base, i64::from(displacement.cast_signed()).cast_unsigned(), bytes + 1)),
        _ => None,
    }
}

/// Recognises the instruction at the start of `code`.
#[inline]
pub(super) fn recognise(code: &[u8]) -> Option<CommonForm> {
    let [first, second, third, fourth, fifth, sixth, seventh, ..] = *code.first_chunk::<MAX_LENGTH>()?;
    let (prefixes, rex, [opcode, modrm, rest @ ..]) = match (first, second) {
        (LOCK | DS, 0x40..=0x4f) => (2, second, [third, fourth, fifth, sixth, seventh]),
        (LOCK | DS, _) => (1, 0, [second, third, fourth, fifth, sixth]),
        // REX.W selects a 64-bit operand.
        (0x48..=0x4f, 0x87 | 0x89) => (1, first, [second, third, fourth, fifth, sixth]),
        _ => return None,
    };
    let (base, displacement, bytes) = operand(rex, [modrm, rest[0], rest[1]])?;
    let register = modrm >> 3 & 7;
    let (form, constants) = match (first, opcode) {
        (LOCK | DS, 0x80) if register == 4 => (Form::AndByte(*rest.masked(usize::from(bytes) - 1)?), 1),
        (LOCK | DS, _) => return None,
        (_, 0x87) => (Form::Exchange(register | rex << 1 & 8), 0),
        _ => (Form::Store(register | rex << 1 & 8), 0),
    };
    Some(CommonForm { form, base: base | rex << 3 & 8, displacement, length: prefixes + 1 + bytes + constants })
}
