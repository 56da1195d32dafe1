//! The parts of a kernel's ELF file that are used: its segments and its notes.

use alloc::vec::Vec;
use core::ops::Range;

use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_DYN, ET_EXEC, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::file::Class;
use machine::speculation::MaskedIndex;

use super::image::ImageError;
use super::notes::{self, Notes};

/// Upper bound on the segments that are read, more than any kernel has.
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Upper bound on the section headers that are searched for notes.
pub(crate) const MAX_SECTIONS: usize = 4096;

/// Bytes of the file to copy to an address in the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Offset from the guest's first frame.
    pub(super) physical: u64,
    /// Range of its contents in the file, validated.
    pub(super) file: Range<usize>,
    /// Size in memory, including the zeros after the contents.
    pub(super) size: u64,
}

/// A parsed and validated kernel.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) segments: Vec<Segment>,
    /// Offsets of the first byte of the segments and the byte after the last, from the guest's
    /// first frame.
    pub(super) extent: Range<u64>,
    pub(super) notes: Notes,
}

const fn malformed(why: &'static str) -> ImageError {
    ImageError::Malformed("ELF file", why)
}

impl Kernel {
    /// Parses and validates an ELF file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(bytes).map_err(|_| malformed("its headers are invalid"))?;
        if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_X86_64 {
            return Err(malformed("it is not for 64-bit x86"));
        }
        if !matches!(file.ehdr.e_type, ET_EXEC | ET_DYN) {
            return Err(malformed("it is not an executable"));
        }
        let notes = read_notes(&file)?;
        let headers = file.segments().ok_or(malformed("it has no program headers"))?;
        let mut segments = Vec::new();
        for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_memsz != 0) {
            if segments.len() == MAX_SEGMENTS {
                return Err(malformed("it has too many segments"));
            }
            let contents =
                range(bytes, header.p_offset, header.p_filesz).ok_or(malformed("a segment lies beyond its end"))?;
            if header.p_filesz > header.p_memsz {
                return Err(malformed("a segment has more contents than memory"));
            }
            let physical = header.p_paddr.checked_sub(notes.physical_offset);
            let physical = physical.ok_or(malformed("a segment lies below its PADDR_OFFSET"))?;
            if physical.checked_add(header.p_memsz).is_none_or(|end| end > 1 << 40) {
                return Err(malformed("a segment lies too high"));
            }
            segments.push(Segment { physical, file: contents, size: header.p_memsz });
        }
        let start = segments.iter().map(|segment| segment.physical).min();
        let end = segments.iter().map(|segment| segment.physical + segment.size).max();
        let (Some(start), Some(end)) = (start, end) else { return Err(malformed("it has no segments to load")) };
        Ok(Self { segments, extent: start..end, notes })
    }
}

/// Reads the notes of the program headers. If there are no Xen notes, reads those of the sections,
/// and then the section that predates notes.
fn read_notes(file: &ElfBytes<'_, LittleEndian>) -> Result<Notes, ImageError> {
    let mut found = notes::Builder::default();
    for header in file.segments().into_iter().flatten().filter(|header| header.p_type == PT_NOTE).take(MAX_SEGMENTS) {
        found.read(file.segment_data(&header).map_err(|_| malformed("its notes lie beyond its end"))?);
    }
    if !found.any() {
        let sections = file.section_headers().into_iter().flatten().take(MAX_SECTIONS);
        for header in sections.filter(|header| header.sh_type == SHT_NOTE) {
            if let Ok((bytes, None)) = file.section_data(&header) {
                found.read(bytes);
            }
        }
    }
    if !found.any()
        && let Some(text) = legacy_section(file)?
    {
        found.read_legacy(text);
    }
    found.finish(file.ehdr.e_entry).map_err(ImageError::Notes)
}

/// The contents of the `__xen_guest` section, if there is one.
fn legacy_section<'a>(file: &ElfBytes<'a, LittleEndian>) -> Result<Option<&'a [u8]>, ImageError> {
    // a file with damaged sections can still be loaded by its segments
    let Ok((Some(sections), Some(names))) = file.section_headers_with_strtab() else { return Ok(None) };
    let is_legacy = |name: u32| names.get_raw(name as usize).is_ok_and(|name| name == notes::LEGACY_SECTION);
    let header = sections.iter().take(MAX_SECTIONS).find(|header| is_legacy(header.sh_name));
    header.map_or(Ok(None), |header| match file.section_data(&header) {
        Ok((bytes, None)) => Ok(Some(bytes)),
        _ => Err(malformed("its __xen_guest section cannot be read")),
    })
}

/// The range of `length` bytes from `offset`, if it is within the file.
fn range(bytes: &[u8], offset: u64, length: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.part(start..end).map(|_| start..end)
}
