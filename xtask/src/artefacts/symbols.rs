//! The compact symbol table in the image, from which a panic prints names. The linker script
//! reserves its space (`.symbols`); it is filled here, after linking. `machine/src/symbols/bare.rs`
//! reads it and documents its layout.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol, SymbolKind};

use super::reserved;

const MAGIC: &[u8; 8] = b"PVSYMS01";
const HEADER: usize = 12;
const ENTRY: usize = 8;
const MAX_NAME: usize = 200;

/// Fills the symbol table of the image in the file `image`.
pub(crate) fn embed(image: &Path) -> Result<()> {
    reserved::fill(image, ".symbols", |elf| Ok(table(&functions(elf)?)))
}

/// The functions of an image, for symbolising addresses.
#[derive(Debug)]
pub(crate) struct Functions {
    /// First address of the image.
    start: u64,
    /// Offsets from there in ascending order, and names.
    all: Vec<(u32, String)>,
}

impl Functions {
    /// Address of the function with this name.
    pub(crate) fn address(&self, name: &str) -> Option<u64> {
        self.all.iter().find(|(_, other)| other == name).map(|&(offset, _)| self.start + u64::from(offset))
    }

    /// Name of the function that contains an address.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        let offset = u32::try_from(address.checked_sub(self.start)?).ok()?;
        let behind = self.all.partition_point(|(start, _)| *start <= offset);
        Some(&self.all.get(behind.checked_sub(1)?)?.1)
    }
}

/// Reads the functions of the image in the file `image`.
pub(crate) fn of_image(image: &Path) -> Result<Functions> {
    let file = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let elf = object::File::parse(&*file).context("the image is no ELF file")?;
    let start = elf.symbol_by_name("__image_start").context("the image has no start")?.address();
    Ok(Functions { start, all: functions(&elf)? })
}

/// Offsets from the start of the image and names of all symbols in its code, in ascending order.
fn functions(elf: &object::File<'_>) -> Result<Vec<(u32, String)>> {
    let start = elf.symbol_by_name("__image_start").context("the image has no start")?.address();
    let end = elf.symbol_by_name("__text_end").context("the image has no end of code")?.address();
    let in_code = |address: u64| (start..end).contains(&address);
    let mut functions: Vec<(u32, String)> = elf
        .symbols()
        .filter(|symbol| matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Unknown | SymbolKind::Label))
        .filter(|symbol| in_code(symbol.address()))
        .filter_map(|symbol| {
            Some(((symbol.address() - start) as u32, symbol.name().ok().filter(|name| !name.is_empty())?))
        })
        .map(|(offset, name)| (offset, readable(name)))
        .collect();
    functions.sort();
    functions.dedup_by_key(|(offset, _)| *offset);
    Ok(functions)
}

fn readable(name: &str) -> String {
    let mut name = format!("{:#}", rustc_demangle::demangle(name));
    let cut = (0..=MAX_NAME.min(name.len())).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    name.truncate(cut);
    name
}

fn table(functions: &[(u32, String)]) -> Vec<u8> {
    let mut names = Vec::new();
    let mut table = MAGIC.to_vec();
    table.extend((functions.len() as u32).to_le_bytes());
    let names_at = HEADER + functions.len() * ENTRY;
    for (offset, name) in functions {
        table.extend(offset.to_le_bytes());
        table.extend(((names_at + names.len()) as u32).to_le_bytes());
        names.extend((name.len() as u16).to_le_bytes());
        names.extend(name.as_bytes());
    }
    table.extend(names);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_laid_out_as_its_reader_expects() {
        let table = table(&[(16, "first".into()), (64, "second".into())]);
        let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((&table[..8], word(8), word(12), word(20)), (&MAGIC[..], 2, 16, 64));
        let name = word(24);
        assert_eq!(&table[name..], b"\x06\0second");
    }
}
