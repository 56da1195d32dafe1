//! Checks that the compiled code of the image makes no indirect call or jump except through the
//! thunk, which is the defence against Spectre v2. Assembly is not looked at: its symbols have no
//! size.

use std::path::Path;

use anyhow::{Context, Result, bail};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// At most this many are listed.
const MAX_LISTED: usize = 10;

/// Fails if a compiled function of the image in the file `image` has an indirect branch.
pub(crate) fn check(image: &Path) -> Result<()> {
    let file = std::fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let elf = object::File::parse(&*file).context("the image is no ELF file")?;
    let text = elf.section_by_name(".text").context("the image has no code")?;
    let (start, code) = (text.address(), text.data().context("the image's code is not in the file")?);
    let mut functions = 0;
    let mut found = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
        let Some(offset) = symbol.address().checked_sub(start).filter(|&offset| offset < code.len() as u64) else {
            continue;
        };
        functions += 1;
        let bytes = code.get(offset as usize..(offset + symbol.size()) as usize);
        let bytes = bytes.context("a function extends beyond the image's code")?;
        for address in indirect_branches(bytes, symbol.address()) {
            let name = symbol.name().unwrap_or("?");
            found.push(format!("{address:#x} in {:#}", rustc_demangle::demangle(name)));
        }
    }
    if functions == 0 {
        bail!("no function of the image can be checked for indirect branches: it has no symbols with a size");
    }
    if !found.is_empty() {
        let listed = found[..found.len().min(MAX_LISTED)].join("\n  ");
        bail!("{} indirect branches of compiled code are without a retpoline:\n  {listed}", found.len());
    }
    Ok(())
}

/// Addresses of the indirect calls and jumps in the code at `address`.
fn indirect_branches(code: &[u8], address: u64) -> Vec<u64> {
    let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let is_indirect = |instruction: &Instruction| {
        matches!(instruction.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall)
    };
    decoder.into_iter().filter(is_indirect).map(|instruction| instruction.ip()).collect()
}

#[cfg(test)]
mod tests {
    use super::indirect_branches;

    #[test]
    fn indirect_calls_and_jumps_are_found() {
        // call +0; call rax; jmp [rip+0]; jmp r11; ret
        let code = [&[0xe8, 0, 0, 0, 0][..], &[0xff, 0xd0], &[0xff, 0x25, 0, 0, 0, 0], &[0x41, 0xff, 0xe3], &[0xc3]];
        assert_eq!(indirect_branches(&code.concat(), 0x1000), [0x1005, 0x1007, 0x100d]);
    }
}
