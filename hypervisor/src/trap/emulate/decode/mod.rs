//! A decoder for the instructions that Paravane emulates in 64-bit code: privileged ones, and those
//! with which kernels change page-table entries. Unknown instructions are not decoded, and their
//! faults go to the guest.

use machine::speculation::MaskedIndex;

/// The longest instruction.
pub(super) const MAX_LENGTH: usize = 15;

/// Segments with a base in 64-bit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    /// FS.
    Fs,
    /// GS.
    Gs,
}

/// The address of a memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Address {
    /// Base register.
    pub(super) base: Option<u8>,
    /// Index register and scale.
    pub(super) index: Option<(u8, u8)>,
    /// Sign-extended displacement.
    pub(super) displacement: u64,
    /// Whether the address is relative to the next instruction.
    pub(super) relative: bool,
}

/// The operand of a ModRM byte that may be memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    /// A register by number.
    Register(u8),
    /// Memory.
    Memory(Address),
}

/// A ModRM byte with its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ModRm {
    /// The byte itself.
    pub(super) byte: u8,
    /// The register operand, including its REX bit.
    pub(super) register: u8,
    /// The other operand.
    pub(super) operand: Operand,
}

impl ModRm {
    /// The three bits that select the instruction of a group.
    pub(super) const fn group(&self) -> u8 {
        self.byte >> 3 & 7
    }
}

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instruction {
    /// Opcode; two-byte opcodes are 0x0f00 plus the second byte.
    pub(super) opcode: u16,
    /// Length in bytes.
    pub(super) length: u8,
    /// Operand size in bytes: 1, 2, 4 or 8.
    pub(super) size: u8,
    /// Whether there is a REX prefix, which selects the set of byte registers.
    pub(super) rex: bool,
    /// Whether there is a LOCK prefix.
    pub(super) lock: bool,
    /// Whether there is a REP or REPNE prefix.
    pub(super) repeat: bool,
    /// Whether addresses are truncated to 32 bits.
    pub(super) narrow: bool,
    /// The segment whose base is added, if any.
    pub(super) segment: Option<Segment>,
    /// The operands, if there is a ModRM byte.
    pub(super) modrm: Option<ModRm>,
    /// Sign-extended immediate operand; zero if there is none.
    pub(super) immediate: u64,
}

/// The format of an instruction after its opcode.
#[derive(Clone, Copy)]
struct Shape {
    modrm: bool,
    immediate: Immediate,
    size: Size,
}

#[derive(Clone, Copy)]
enum Immediate {
    None,
    Byte,
    /// The operand size, but at most four bytes.
    Full,
}

#[derive(Clone, Copy)]
enum Size {
    Byte,
    /// 2, 4 or 8, depending on prefixes.
    Usual,
    /// Always 8.
    Long,
}

const fn shape(opcode: u16) -> Option<Shape> {
    let (modrm, immediate, size) = match opcode {
        // add, or, adc, sbb, and, sub, xor with a register; xchg, mov, inc, dec
        0x00 | 0x08 | 0x10 | 0x18 | 0x20 | 0x28 | 0x30 | 0x86 | 0x88 | 0xfe => (true, Immediate::None, Size::Byte),
        0x01 | 0x09 | 0x11 | 0x19 | 0x21 | 0x29 | 0x31 | 0x87 | 0x89 | 0xff => (true, Immediate::None, Size::Usual),
        // add to xor and mov with an immediate
        0x80 | 0xc6 => (true, Immediate::Byte, Size::Byte),
        0x81 | 0xc7 => (true, Immediate::Full, Size::Usual),
        0x83 => (true, Immediate::Byte, Size::Usual),
        // not, neg; `test` in the same group only reads and has an immediate, see `decode`
        0xf6 => (true, Immediate::None, Size::Byte),
        0xf7 => (true, Immediate::None, Size::Usual),
        // cmpxchg, xadd
        0x0fb0 | 0x0fc0 => (true, Immediate::None, Size::Byte),
        0x0fb1 | 0x0fc1 => (true, Immediate::None, Size::Usual),
        // bts, btr, btc
        0x0fab | 0x0fb3 | 0x0fbb => (true, Immediate::None, Size::Usual),
        0x0fba => (true, Immediate::Byte, Size::Usual),
        // movnti, cmpxchg8b
        0x0fc3 | 0x0fc7 => (true, Immediate::None, Size::Usual),
        // movs, stos, ins, outs, in and out with DX
        0xa4 | 0xaa | 0x6c | 0x6e | 0xec | 0xee => (false, Immediate::None, Size::Byte),
        0xa5 | 0xab | 0x6d | 0x6f | 0xed | 0xef => (false, Immediate::None, Size::Usual),
        // in and out with an immediate port number
        0xe4 | 0xe6 => (false, Immediate::Byte, Size::Byte),
        0xe5 | 0xe7 => (false, Immediate::Byte, Size::Usual),
        // hlt, cli, sti, clts, invd, wbinvd, wrmsr, rdtsc, rdmsr, rdpmc, cpuid
        0xf4 | 0xfa | 0xfb | 0x0f06 | 0x0f08 | 0x0f09 | 0x0f30..=0x0f33 | 0x0fa2 => {
            (false, Immediate::None, Size::Usual)
        }
        // sldt, str and others; sgdt, sidt, smsw, lmsw, invlpg, xsetbv and others
        0x0f00 | 0x0f01 => (true, Immediate::None, Size::Usual),
        // mov from and to control and debug registers
        0x0f20..=0x0f23 => (true, Immediate::None, Size::Long),
        _ => return None,
    };
    Some(Shape { modrm, immediate, size })
}

/// Reads the bytes of an instruction in order.
struct Bytes<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.masked(self.position)?;
        self.position += 1;
        (self.position <= MAX_LENGTH).then_some(byte)
    }

    /// A little-endian number of 1, 2 or 4 bytes, sign-extended.
    fn signed(&mut self, length: u8) -> Option<u64> {
        let mut value = 0u64;
        for at in 0..length {
            value |= u64::from(self.next()?) << (8 * at);
        }
        let unused = 64 - 8 * u32::from(length);
        Some(((value << unused).cast_signed() >> unused).cast_unsigned())
    }
}

/// Decodes the instruction at the start of `bytes`. `None` if it is unknown or incomplete.
pub(super) fn decode(bytes: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { bytes, position: 0 };
    let (mut word, mut narrow, mut lock, mut repeat, mut segment) = (false, false, false, false, None);
    let mut rex = 0;
    let byte = loop {
        let byte = bytes.next()?;
        match byte {
            0x66 => word = true,
            0x67 => narrow = true,
            0xf0 => lock = true,
            0xf2 | 0xf3 => repeat = true,
            0x64 => segment = Some(Segment::Fs),
            0x65 => segment = Some(Segment::Gs),
            // The bases of these segments are always zero. The prefixes do not cancel FS and GS
            // prefixes.
            0x26 | 0x2e | 0x36 | 0x3e => {}
            0x40..=0x4f => {
                rex = byte;
                continue;
            }
            _ => break byte,
        }
        // A REX prefix is only valid immediately before the opcode.
        rex = 0;
    };
    let opcode = if byte == 0x0f { 0x0f00 | u16::from(bytes.next()?) } else { u16::from(byte) };
    let shape = shape(opcode)?;
    // With these prefixes it is not `movnti`.
    if opcode == 0x0fc3 && (word || repeat || lock) {
        return None;
    }
    let size = match shape.size {
        Size::Byte => 1,
        Size::Long => 8,
        Size::Usual if rex & 8 != 0 => 8,
        Size::Usual if word => 2,
        Size::Usual => 4,
    };
    let modrm = if shape.modrm { Some(modrm(&mut bytes, opcode, rex)?) } else { None };
    let immediate = match shape.immediate {
        Immediate::None if matches!(opcode, 0xf6 | 0xf7) && modrm?.group() < 2 => return None,
        Immediate::None => 0,
        Immediate::Byte => bytes.signed(1)?,
        Immediate::Full => bytes.signed(size.min(4))?,
    };
    let length = u8::try_from(bytes.position).ok()?;
    Some(Instruction { opcode, length, size, rex: rex != 0, lock, repeat, narrow, segment, modrm, immediate })
}

fn modrm(bytes: &mut Bytes<'_>, opcode: u16, rex: u8) -> Option<ModRm> {
    let byte = bytes.next()?;
    let register = byte >> 3 & 7 | rex << 1 & 8;
    let low = byte & 7;
    let mode = byte >> 6;
    let extended = low | rex << 3 & 8;
    // Moves of control and debug registers have no memory operand, regardless of the mode bits.
    if mode == 3 || matches!(opcode, 0x0f20..=0x0f23) {
        return Some(ModRm { byte, register, operand: Operand::Register(extended) });
    }
    let mut address = Address { base: Some(extended), index: None, displacement: 0, relative: false };
    if low == 4 {
        let scale = bytes.next()?;
        let index = scale >> 3 & 7 | rex << 2 & 8;
        // Index 4 means no index.
        address.index = (index != 4).then_some((index, 1 << (scale >> 6)));
        address.base = Some(scale & 7 | rex << 3 & 8).filter(|_| mode != 0 || scale & 7 != 5);
    } else if mode == 0 && low == 5 {
        address.base = None;
        address.relative = true;
    }
    address.displacement = match mode {
        0 if address.base.is_none() => bytes.signed(4)?,
        0 => 0,
        1 => bytes.signed(1)?,
        _ => bytes.signed(4)?,
    };
    Some(ModRm { byte, register, operand: Operand::Memory(address) })
}

#[cfg(test)]
mod tests;
