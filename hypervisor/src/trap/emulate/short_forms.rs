//! The few encodings with which Linux changes live page-table entries, recognised without the decoder: `mov` to and `xchg` with a whole entry,
//! and `lock and` of its low byte with a constant. Whatever else an instruction is, or does not succeed, takes the long way, which does these
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

/// A recognised instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShortForm {
    pub(super) form: Form,
    /// The register that has the address, and what is added to it.
    pub(super) base: u8,
    pub(super) displacement: u64,
    /// Bytes of the instruction.
    pub(super) length: u8,
}

/// The operand behind a base register, if that is all there is to it: the register's low bits, the displacement and the bytes of both.
fn operand(modrm: u8, next: u8) -> Option<(u8, u64, u8)> {
    let low = modrm & 7;
    // 4 stands for a further byte.
    match modrm >> 6 {
        _ if low == 4 => None,
        0 if low != 5 => Some((low, 0, 1)),
        1 => Some((low, i64::from(next.cast_signed()).cast_unsigned(), 2)),
        _ => None,
    }
}

/// Recognises the instruction that `code` begins with.
pub(super) fn recognise(code: &[u8]) -> Option<ShortForm> {
    let [first, second, third, fourth, fifth, ..] = *code.first_chunk::<MAX_LENGTH>()?;
    match (first, second) {
        // REX with a 64-bit operand
        (0x48..=0x4f, 0x87 | 0x89) => {
            let (low, displacement, bytes) = operand(third, fourth)?;
            let register = third >> 3 & 7 | first << 1 & 8;
            let form = if second == 0x87 { Form::Exchange(register) } else { Form::Store(register) };
            Some(ShortForm { form, base: low | first << 3 & 8, displacement, length: 2 + bytes })
        }
        (0xf0, 0x80) if third >> 3 & 7 == 4 => {
            let (low, displacement, bytes) = operand(third, fourth)?;
            let constant = if bytes == 1 { fourth } else { fifth };
            Some(ShortForm { form: Form::AndByte(constant), base: low, displacement, length: 3 + bytes })
        }
        // the same with one of the upper registers
        (0xf0, 0x41) if third == 0x80 && fourth >> 3 & 7 == 4 => {
            let [.., sixth] = *code.first_chunk::<6>()?;
            let (low, displacement, bytes) = operand(fourth, fifth)?;
            let constant = if bytes == 1 { fifth } else { sixth };
            Some(ShortForm { form: Form::AndByte(constant), base: low | 8, displacement, length: 4 + bytes })
        }
        _ => None,
    }
}
