//! The branches of the image's compiled code, as defences against Spectre v2 and ITS want them: no
//! indirect call or jump except through a thunk, and no return but a jump to another thunk, which
//! boot replaces by a plain return where that is safe. Assembly is not examined: its symbols have
//! no size.

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// The jump that is a return.
const RETURN_THUNK: &str = "__x86_return_thunk";

/// At most this many findings are listed.
const MAX_LISTED: usize = 10;

/// The addresses of all returns of compiled functions, in ascending order. Fails if a function has
/// an indirect branch or a return that does not use its thunk.
pub(super) fn returns(elf: &object::File<'_>) -> Result<Vec<u64>> {
    let text = elf.section_by_name(".text").context("the image has no code")?;
    let (start, code) = (text.address(), text.data().context("the image's code is not in the file")?);
    let thunk = elf.symbol_by_name(RETURN_THUNK).context("the image has no thunk for returns")?.address();
    let (mut returns, mut wrong) = (Vec::new(), Vec::new());
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(offset) = symbol.address().checked_sub(start).filter(|&offset| offset < code.len() as u64) else {
            continue;
        };
        let bytes = code.get(offset as usize..(offset + symbol.size()) as usize);
        let bytes = bytes.context("a function extends beyond the image's code")?;
        let found = Branches::of(bytes, symbol.address(), thunk);
        returns.extend(found.returns);
        let name = symbol.name().unwrap_or("?");
        wrong.extend(found.wrong.iter().map(|at| format!("{at:#x} in {:#}", rustc_demangle::demangle(name))));
    }
    if returns.is_empty() {
        bail!("no function of the image can be checked for branches: none that has a size returns");
    }
    if !wrong.is_empty() {
        let listed = wrong[..wrong.len().min(MAX_LISTED)].join("\n  ");
        bail!("{} branches of compiled code use no thunk:\n  {listed}", wrong.len());
    }
    // One function may have several symbols.
    returns.sort_unstable();
    returns.dedup();
    Ok(returns)
}

/// Branches of a piece of code, by address.
#[derive(Debug, Default)]
struct Branches {
    /// Jumps to the thunk of returns, in five bytes.
    returns: Vec<u64>,
    /// Those that should use a thunk.
    wrong: Vec<u64>,
}

impl Branches {
    fn of(code: &[u8], address: u64, thunk: u64) -> Self {
        let mut found = Self::default();
        let to_thunk = |instruction: &Instruction| instruction.near_branch_target() == thunk;
        for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
            match instruction.flow_control() {
                FlowControl::UnconditionalBranch if to_thunk(&instruction) && instruction.len() == 5 => {
                    found.returns.push(instruction.ip());
                }
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch if to_thunk(&instruction) => {
                    found.wrong.push(instruction.ip());
                }
                FlowControl::IndirectBranch | FlowControl::IndirectCall => found.wrong.push(instruction.ip()),
                // Far returns are not predicted.
                FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => found.wrong.push(instruction.ip()),
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Branches;

    #[test]
    fn branches_without_a_thunk_are_found() {
        // call +0; call rax; jmp [rip+0]; jmp r11; ret; jmp 0x2000; jz 0x2000
        let code = [
            &[0xe8, 0, 0, 0, 0][..],
            &[0xff, 0xd0],
            &[0xff, 0x25, 0, 0, 0, 0],
            &[0x41, 0xff, 0xe3],
            &[0xc3],
            &[0xe9, 0xea, 0x0f, 0, 0],
            &[0x0f, 0x84, 0xe4, 0x0f, 0, 0],
        ];
        let found = Branches::of(&code.concat(), 0x1000, 0x2000);
        assert_eq!(found.returns, [0x1011]);
        assert_eq!(found.wrong, [0x1005, 0x1007, 0x100d, 0x1010, 0x1016]);
    }
}
