//! Intel's updates (Intel SDM volume 3, "Microcode Update Facilities"): any number of them, one
//! after another. Each consists of a header, data, and optionally a table of further processors.

use crate::bytes::{size_at, sum, u32_at};
use crate::update::Date;
use crate::{Error, Processor, Update};

/// Size of the header, and offsets of its fields.
pub(crate) const HEADER: usize = 48;
const HEADER_VERSION: usize = 0;
const REVISION: usize = 4;
const DATE: usize = 8;
const SIGNATURE: usize = 12;
const CHECKSUM: usize = 16;
const LOADER_REVISION: usize = 20;
const PLATFORMS: usize = 24;
const DATA_SIZE: usize = 28;
const TOTAL_SIZE: usize = 32;
/// Reserved at first; newer updates have here the oldest revision from which they may be loaded
/// late (Linux's `min_req_ver`).
const MINIMUM: usize = 40;

/// The sizes if the fields are zero.
const USUAL_DATA: usize = 2000;
/// A total size is a multiple of this.
const GRANULE: usize = 1024;

/// The table of further processors: count, checksum, three reserved numbers, and the entries:
/// signature, platforms, checksum.
const TABLE: usize = 20;
const ENTRY: usize = 12;

const WHOLE: &str = "an update";
const EXTENDED: &str = "a table of processors";

/// One update, whose sizes and checksums are right.
struct Parts<'a> {
    header: &'a [u8],
    data: &'a [u8],
    entries: &'a [u8],
}

/// Calls `each` for each update, with `None` for one that is for other processors.
pub(crate) fn search<'a>(
    file: &'a [u8],
    processor: &Processor,
    each: &mut impl FnMut(Option<Update<'a>>),
) -> Result<(), Error> {
    if u32_at(file, HEADER_VERSION) != Some(1) {
        return Err(Error::Unknown);
    }
    let mut rest = file;
    while !rest.is_empty() {
        let (update, behind) = split(rest)?;
        each(update.for_processor(processor));
        rest = behind;
    }
    Ok(())
}

/// Splits off the first update.
fn split(bytes: &[u8]) -> Result<(Parts<'_>, &[u8]), Error> {
    let header = bytes.get(..HEADER).ok_or(Error::Truncated(WHOLE))?;
    let known = [HEADER_VERSION, LOADER_REVISION].map(|at| u32_at(header, at)) == [Some(1); 2];
    let (data_size, total_size) = match (size_at(header, DATA_SIZE), size_at(header, TOTAL_SIZE)) {
        (Some(0), _) => (USUAL_DATA, USUAL_DATA + HEADER),
        (Some(data), Some(total)) => (data, total),
        _ => return Err(Error::Truncated(WHOLE)),
    };
    let fits = data_size.checked_add(HEADER).is_some_and(|end| end <= total_size);
    if !known || !data_size.is_multiple_of(4) || !total_size.is_multiple_of(GRANULE) || !fits {
        return Err(Error::Malformed(WHOLE));
    }
    let (update, behind) = bytes.split_at_checked(total_size).ok_or(Error::Truncated(WHOLE))?;
    let (main, table) = update.split_at_checked(HEADER + data_size).ok_or(Error::Malformed(WHOLE))?;
    if sum(main) != 0 {
        return Err(Error::Checksum(WHOLE));
    }
    let (header, data) = main.split_at_checked(HEADER).ok_or(Error::Malformed(WHOLE))?;
    Ok((Parts { header, data, entries: entries(header, table)? }, behind))
}

/// Checks the table of further processors, which may be absent, and returns its entries.
fn entries<'a>(header: &[u8], table: &'a [u8]) -> Result<&'a [u8], Error> {
    if table.is_empty() {
        return Ok(&[]);
    }
    let malformed = Error::Malformed(EXTENDED);
    let entries = table.get(TABLE..).ok_or(malformed)?;
    let count = size_at(table, 0).ok_or(malformed)?;
    if count.checked_mul(ENTRY) != Some(entries.len()) {
        return Err(malformed);
    }
    // Each entry's checksum is that of the update's header with the entry in place of the header's
    // processor.
    let wanted = sum_of(header, [SIGNATURE, PLATFORMS, CHECKSUM]);
    if sum(table) != 0 || entries.chunks_exact(ENTRY).any(|entry| sum_of(entry, [0, 4, 8]) != wanted) {
        return Err(Error::Checksum(EXTENDED));
    }
    Ok(entries)
}

/// The sum of three numbers.
fn sum_of(bytes: &[u8], places: [usize; 3]) -> Option<u32> {
    places.into_iter().try_fold(0u32, |sum, at| Some(sum.wrapping_add(u32_at(bytes, at)?)))
}

impl<'a> Parts<'a> {
    /// The update, if it is for the processor: the signatures are the same, and the platforms
    /// include the processor's.
    fn for_processor(&self, processor: &Processor) -> Option<Update<'a>> {
        let fits = |bytes: &[u8], signature, platforms| {
            u32_at(bytes, signature) == Some(processor.signature)
                && u32_at(bytes, platforms).is_some_and(|platforms| platforms & processor.platform != 0)
        };
        let listed = || self.entries.chunks_exact(ENTRY).any(|entry| fits(entry, 0, 4));
        if !fits(self.header, SIGNATURE, PLATFORMS) && !listed() {
            return None;
        }
        Some(Update {
            revision: u32_at(self.header, REVISION)?,
            date: Date(u32_at(self.header, DATE)?),
            image: self.data,
            minimum: u32_at(self.header, MINIMUM)?,
        })
    }
}

/// Broadwell-EX, stepping 1: late loading may hang it below this revision (erratum BDF90).
const BROADWELL_EX: u32 = 0x406f1;
const SOUND_ON_BROADWELL_EX: u32 = 0x0b00_0021;

/// Checks whether the update may be loaded while the processor is in use.
pub(crate) fn check_late(processor: &Processor, update: &Update<'_>) -> Result<(), Error> {
    if processor.signature == BROADWELL_EX && processor.is_newer(SOUND_ON_BROADWELL_EX, processor.revision) {
        return Err(Error::OnlyEarly { minimum: 0 });
    }
    if update.minimum != 0 && processor.is_newer(update.minimum, processor.revision) {
        return Err(Error::OnlyEarly { minimum: update.minimum });
    }
    Ok(())
}
