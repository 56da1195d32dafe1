//! The table of the returns of compiled code in the image. The linker script reserves its space
//! (`.returns`); it is filled here, after linking. `machine/src/processor/returns.rs` reads it and
//! documents its layout.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::{Object, ObjectSymbol};

use super::{branches, reserved};

/// The addresses of the returns of compiled code in the image in the file `image`, in ascending
/// order.
pub(crate) fn of_image(image: &Path) -> Result<Vec<u64>> {
    let file = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    branches::returns(&object::File::parse(&*file).context("the image is no ELF file")?)
}

/// Fills the table of the image in the file `image`. Fails if compiled code has a branch that it
/// should not have.
pub(crate) fn embed(image: &Path) -> Result<()> {
    reserved::fill(image, ".returns", |elf| {
        let start = elf.symbol_by_name("__image_start").context("the image has no start")?.address();
        Ok(table(start, &branches::returns(elf)?))
    })
}

/// The count, and the offsets from the start of the image.
fn table(start: u64, returns: &[u64]) -> Vec<u8> {
    let offsets = returns.iter().map(|address| (address - start) as u32);
    [returns.len() as u32].into_iter().chain(offsets).flat_map(u32::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_has_a_count_and_offsets() {
        assert_eq!(table(0x1000, &[0x1008, 0x2000]), [2, 0, 0, 0, 8, 0, 0, 0, 0, 0x10, 0, 0]);
    }
}
