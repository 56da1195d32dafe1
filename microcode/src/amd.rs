//! AMD's containers, of which a file has any number, one after another: a magic number, a table
//! that assigns a number to each processor, and updates for these numbers. The format is that which
//! Linux and Xen read (`arch/x86/kernel/cpu/microcode/amd.c`); AMD has not published a description.

use crate::bytes::{size_at, u16_at, u32_at};
use crate::update::Date;
use crate::{Error, Processor, Update};

/// First bytes of a container, "DMA\0".
pub(crate) const MAGIC: u32 = 0x0041_4d44;
/// A section has a type and a size before its contents.
const SECTION: usize = 8;
pub(crate) const SECTION_TABLE: u32 = 0;
pub(crate) const SECTION_UPDATE: u32 = 1;

/// An entry of the table: the processor's signature, two numbers for errata, and the number that
/// represents it. An entry with the signature zero ends the table.
const ENTRY: usize = 16;
const ENTRY_NUMBER: usize = 12;

/// Size of an update's header, and offsets of its fields.
pub(crate) const HEADER: usize = 64;
const DATE: usize = 0;
const REVISION: usize = 4;
const NORTH_BRIDGE: usize = 16;
const SOUTH_BRIDGE: usize = 20;
const PROCESSOR: usize = 24;

const TABLE: &str = "a table of processors";
const UPDATE: &str = "an update";

/// The largest update of a family. For the newest families no limit is public; theirs is far above
/// the size of any update so far.
const fn largest(family: u32) -> usize {
    match family {
        ..0x14 => 2048,
        0x14 => 1824,
        0x15 => 4096,
        0x16 => 3458,
        0x17 => 3200,
        0x19 => 5568,
        _ => 64 << 10,
    }
}

/// Whether an update from the processor's revision hangs it, by the experience of Linux and Xen
/// with family 10h.
pub(crate) fn is_final(processor: &Processor) -> bool {
    processor.family() == 0x10 && [0x0100_0098, 0x0100_009f, 0x0100_00af].contains(&processor.revision)
}

/// Calls `each` for each update, with `None` for one that is for other processors.
pub(crate) fn search<'a>(
    file: &'a [u8],
    processor: &Processor,
    each: &mut impl FnMut(Option<Update<'a>>),
) -> Result<(), Error> {
    if u32_at(file, 0) != Some(MAGIC) {
        return Err(Error::Unknown);
    }
    let mut number = None;
    let mut rest = file;
    while !rest.is_empty() {
        if u32_at(rest, 0) == Some(MAGIC) {
            let table;
            (table, rest) = section(rest.get(4..).unwrap_or_default(), SECTION_TABLE, TABLE)?;
            let here = number_of(table, processor.signature)?;
            // The number of a processor is fixed, so one of two different ones is wrong.
            if let (Some(before), Some(here)) = (number, here)
                && before != here
            {
                return Err(Error::Malformed(TABLE));
            }
            number = here.or(number);
        } else {
            let contents;
            (contents, rest) = section(rest, SECTION_UPDATE, UPDATE)?;
            each(update(contents, number, processor)?);
        }
    }
    Ok(())
}

/// Splits off the section at the start, which must be of this kind.
fn section<'a>(bytes: &'a [u8], kind: u32, part: &'static str) -> Result<(&'a [u8], &'a [u8]), Error> {
    let truncated = Error::Truncated(part);
    if u32_at(bytes, 0).ok_or(truncated)? != kind {
        return Err(Error::Malformed(part));
    }
    let size = size_at(bytes, 4).ok_or(truncated)?;
    bytes.get(SECTION..).and_then(|rest| rest.split_at_checked(size)).ok_or(truncated)
}

/// The number that represents processors of this signature in updates, if the table has it.
fn number_of(table: &[u8], signature: u32) -> Result<Option<u16>, Error> {
    let entries = table.chunks_exact(ENTRY);
    if !entries.remainder().is_empty() {
        return Err(Error::Malformed(TABLE));
    }
    let mut entries = entries.take_while(|entry| u32_at(entry, 0) != Some(0));
    Ok(entries.find(|entry| u32_at(entry, 0) == Some(signature)).and_then(|entry| u16_at(entry, ENTRY_NUMBER)))
}

/// The update in a section, if it is for processors of this number.
fn update<'a>(contents: &'a [u8], number: Option<u16>, processor: &Processor) -> Result<Option<Update<'a>>, Error> {
    let header = contents.get(..HEADER).ok_or(Error::Malformed(UPDATE))?;
    if number.is_none() || u16_at(header, PROCESSOR) != number {
        return Ok(None);
    }
    if contents.len() > largest(processor.family()) {
        return Err(Error::Malformed(UPDATE));
    }
    // An update for one chipset: there is no way to identify the chipset here.
    if [NORTH_BRIDGE, SOUTH_BRIDGE].iter().any(|&at| u32_at(header, at) != Some(0)) {
        return Ok(None);
    }
    let fields = u32_at(header, REVISION).zip(u32_at(header, DATE));
    Ok(fields.map(|(revision, date)| Update { revision, date: Date(date), image: contents, minimum: 0 }))
}
