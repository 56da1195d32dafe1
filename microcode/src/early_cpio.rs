//! Archives in front of a ramdisk: cpio in its "newc" form, not compressed, which loaders of
//! microcode and of ACPI tables read before there is memory to decompress anything. Several may
//! follow each other, with zeros in between. The ramdisk itself, which is usually compressed, ends
//! them (Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`).

use core::ops::Range;

use crate::Error;

/// The header: a magic number of six characters and thirteen numbers of eight hexadecimal digits.
const HEADER: usize = 110;
const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
const FILE_SIZE: Range<usize> = 54..62;
const NAME_SIZE: Range<usize> = 94..102;

const ARCHIVE: &str = "the archive";

/// The contents of the file with this path; the first, if there are several.
///
/// # Errors
/// If a member before it is damaged.
pub fn find<'a>(archives: &'a [u8], path: &str) -> Result<Option<&'a [u8]>, Error> {
    // Positions are relative to the start, which is aligned.
    let mut at = 0;
    while let Some(&first) = archives.get(at) {
        if first == 0 {
            at += 4;
            continue;
        }
        let Some(member) = archives.get(at..).filter(|rest| MAGIC.iter().any(|magic| rest.starts_with(magic))) else {
            return Ok(None);
        };
        let header = member.get(..HEADER).ok_or(Error::Truncated(ARCHIVE))?;
        let name_size = number(header.get(NAME_SIZE))?;
        let file_size = number(header.get(FILE_SIZE))?;
        let name_end = end(at + HEADER, name_size, archives)?;
        let start = name_end.next_multiple_of(4);
        let file_end = end(start, file_size, archives)?;
        let name = archives.get(at + HEADER..name_end).unwrap_or_default();
        // Tools may align the contents by zeros after the name.
        if name.split(|&byte| byte == 0).next() == Some(path.as_bytes()) {
            return Ok(archives.get(start..file_end));
        }
        at = file_end.next_multiple_of(4);
    }
    Ok(None)
}

/// The end of a part of the archive.
fn end(start: usize, size: usize, archives: &[u8]) -> Result<usize, Error> {
    start.checked_add(size).filter(|&end| end <= archives.len()).ok_or(Error::Truncated(ARCHIVE))
}

/// A number of eight hexadecimal digits.
fn number(digits: Option<&[u8]>) -> Result<usize, Error> {
    let digit = |number: usize, byte: &u8| Some(number << 4 | char::from(*byte).to_digit(16)? as usize);
    digits.and_then(|digits| digits.iter().try_fold(0, digit)).ok_or(Error::Malformed(ARCHIVE))
}
