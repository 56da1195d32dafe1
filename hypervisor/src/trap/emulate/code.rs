//! Access to the code that the guest executes: its mode and its bytes.

use abi::arch_x86_64::{FIRST_RESERVED_GDT_ENTRY, flat};
use machine::addr::GuestVirt;
use machine::context::Active;
use machine::frames::FrameRef;
use machine::integers::low_u16;
use machine::speculation::{self, MaskedIndex};

use super::decode::MAX_LENGTH;

const DESCRIPTOR_CODE: u64 = 1 << 43;
const DESCRIPTOR_LONG: u64 = 1 << 53;
/// Bit of a selector: the descriptor is in the LDT.
const SELECTOR_LOCAL: u16 = 4;

/// The mode in which code is executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// 64-bit code: the segment has no base.
    Long,
    /// 32-bit or 16-bit code in a segment with this base.
    Compatible(u64),
}

/// The mode of the code at CS:RIP. `None` if the guest has removed the descriptor meanwhile.
pub(super) fn mode(cpu: &Active) -> Option<Mode> {
    // The upper bits of the saved selector are undefined.
    let selector = low_u16(cpu.registers().cs);
    match selector | 3 {
        flat::RING3_CS64 => return Some(Mode::Long),
        flat::RING3_CS32 => return Some(Mode::Compatible(0)),
        _ => {}
    }
    let descriptor = descriptor(cpu, selector)?;
    if descriptor & DESCRIPTOR_CODE == 0 {
        None
    } else if descriptor & DESCRIPTOR_LONG != 0 {
        Some(Mode::Long)
    } else {
        Some(Mode::Compatible(descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000))
    }
}

/// Reads an entry of one of the guest's descriptor tables.
fn descriptor(cpu: &Active, selector: u16) -> Option<u64> {
    let index = selector >> 3;
    if selector & SELECTOR_LOCAL != 0 {
        let ldt = cpu.context().ldt();
        if index >= ldt.entries {
            return None;
        }
        return cpu.read_element(GuestVirt::new(ldt.base), u64::from(index)).ok();
    }
    if usize::from(index) >= FIRST_RESERVED_GDT_ENTRY {
        return None;
    }
    let (mut frames, entries) = cpu.context().gdt();
    let index = speculation::bounded(index.into(), entries.into())?;
    #[expect(clippy::disallowed_methods, reason = "the index is masked")]
    let mfn = frames.nth(index / 512)?;
    Some(FrameRef::get_any(mfn)?.read_u64(low_u16(index as u64 % 512)))
}

/// The maximum length of an instruction, rounded up to words.
const WORDS: usize = MAX_LENGTH.next_multiple_of(8);

/// Bytes of code, as far as they are readable.
pub(super) struct Code {
    bytes: [u8; WORDS],
    length: usize,
}

impl Code {
    /// The readable bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.part(..self.length).unwrap_or_default()
    }
}

/// Reads the 64-bit instruction at RIP. `None` if the guest executes code of another mode.
pub(super) fn fetch(cpu: &Active) -> Option<Code> {
    if mode(cpu)? != Mode::Long {
        return None;
    }
    let address = GuestVirt::new(cpu.registers().rip);
    let mut bytes = [0; WORDS];
    let mut length = MAX_LENGTH;
    // Whole words are read if possible. If that fails, the memory after the instruction may not be
    // mapped.
    if cpu.read_bytes(address, &mut bytes).is_err() {
        length = cpu.read_some(address, bytes.first_chunk_mut::<MAX_LENGTH>()?);
    }
    Some(Code { bytes, length })
}
