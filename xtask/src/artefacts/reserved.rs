//! Sections of the image that the linker script reserves and that are filled after linking.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};

/// Fills a section of the image in the file `image` with a table made from the image.
pub(super) fn fill(
    image: &Path,
    section: &str,
    table: impl FnOnce(&object::File<'_>) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut file = fs::read(image).with_context(|| format!("cannot read {}", image.display()))?;
    let (place, table) = {
        let elf = object::File::parse(&*file).context("the image is no ELF file")?;
        let found = elf.section_by_name(section).with_context(|| format!("the image has no section {section}"))?;
        let (start, size) = found.file_range().with_context(|| format!("the section {section} is not in the file"))?;
        (start as usize..(start + size) as usize, table(&elf)?)
    };
    store(&mut file, place, &table).with_context(|| format!("the section {section} cannot be filled"))?;
    fs::write(image, file).with_context(|| format!("cannot write {}", image.display()))
}

fn store(file: &mut [u8], place: Range<usize>, table: &[u8]) -> Result<()> {
    let room = file.get_mut(place).context("it is beyond the file")?;
    if table.len() > room.len() {
        bail!("its table needs {} bytes, image/link.ld reserves {}", table.len(), room.len());
    }
    room.fill(0);
    room[..table.len()].copy_from_slice(table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::store;

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        assert!(store(&mut [0; 8], 4..8, &[1; 5]).is_err());
        assert!(store(&mut [0; 8], 4..12, &[1; 2]).is_err());
        let mut file = [9; 8];
        assert!(store(&mut file, 4..8, &[1; 2]).is_ok());
        assert_eq!(file, [9, 9, 9, 9, 1, 1, 0, 0]);
    }
}
