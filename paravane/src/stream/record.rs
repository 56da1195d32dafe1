//! Records of `libxenguest`'s stream, version 3, for 64-bit PV guests
//! (`libxc-migration-stream.pandoc` in Xen's documentation).
//!
//! A stream starts with two headers of together 40 bytes. A record is its kind, the length of its
//! body, and the body, padded to a multiple of eight bytes.

use super::bytes::{numbers, take, take_u32};
use super::{MAX_BODY, MAX_PAGES, Malformed, malformed};

/// Length of the image header and the domain header.
pub const HEADER: usize = 40;

/// Kinds of records.
pub mod kind {
    /// `REC_TYPE_END`.
    pub const END: u32 = 0;
    /// `REC_TYPE_PAGE_DATA`.
    pub const PAGE_DATA: u32 = 1;
    /// `REC_TYPE_X86_PV_INFO`.
    pub const PV_INFO: u32 = 2;
    /// `REC_TYPE_X86_PV_P2M_FRAMES`.
    pub const P2M_FRAMES: u32 = 3;
    /// `REC_TYPE_X86_PV_VCPU_BASIC`.
    pub const VCPU_BASIC: u32 = 4;
    /// `REC_TYPE_X86_PV_VCPU_EXTENDED`.
    pub const VCPU_EXTENDED: u32 = 5;
    /// `REC_TYPE_X86_PV_VCPU_XSAVE`.
    pub const VCPU_XSAVE: u32 = 6;
    /// `REC_TYPE_SHARED_INFO`.
    pub const SHARED_INFO: u32 = 7;
    /// `REC_TYPE_X86_TSC_INFO`.
    pub const TSC_INFO: u32 = 8;
    /// `REC_TYPE_X86_PV_VCPU_MSRS`.
    pub const VCPU_MSRS: u32 = 12;
    /// `REC_TYPE_STATIC_DATA_END`.
    pub const STATIC_DATA_END: u32 = 16;
    /// `REC_TYPE_X86_CPUID_POLICY`.
    pub const CPUID_POLICY: u32 = 17;
    /// `REC_TYPE_X86_MSR_POLICY`.
    pub const MSR_POLICY: u32 = 18;
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Image header and domain header.
    Header([u8; HEADER]),
    /// A record.
    Record {
        /// One of [`kind`].
        kind: u32,
        /// Without padding.
        body: Vec<u8>,
    },
}

impl Item {
    /// Appends the item as it is in the stream.
    pub fn write(&self, stream: &mut Vec<u8>) {
        match self {
            Self::Header(header) => stream.extend(header),
            Self::Record { kind, body } => {
                let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
                stream.extend(kind.to_le_bytes());
                stream.extend(length.to_le_bytes());
                stream.extend(body);
                stream.resize(stream.len() + padding(body.len()), 0);
            }
        }
    }
}

/// Bytes from the end of a body to the next record.
fn padding(length: usize) -> usize {
    length.next_multiple_of(8) - length
}

/// Whether a page of this type, the top four bits of its entry, has contents in the stream. Types
/// 13 to 15 are pages that are broken, only allocated, or absent.
pub(super) fn has_contents(entry: u64) -> bool {
    entry >> 60 < 13
}

/// Whether the entry of a page is one that Xen knows: type and number, the bits between are zero.
pub(super) fn is_entry(entry: u64) -> bool {
    matches!(entry >> 60, 0..=4 | 9..=15) && entry & 0x0ff0_0000_0000_0000 == 0
}

/// The number of a page.
pub(super) fn page_number(entry: u64) -> u64 {
    entry & 0x000f_ffff_ffff_ffff
}

/// The entries and the contents of the pages in the body of a [`kind::PAGE_DATA`] record.
pub(super) fn pages(mut body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let count = page_count(take_u32(&mut body)?)?;
    take_u32(&mut body)?;
    let entries = take(&mut body, count * 8)?;
    let with_contents = numbers(entries).filter(|&entry| has_contents(entry)).count();
    if body.len() != with_contents * super::PAGE {
        return malformed(format!("{} bytes for {with_contents} pages", body.len()));
    }
    Ok((entries, body))
}

/// The count of pages in a record, within its limits.
pub(super) fn page_count(count: u32) -> Result<usize, Malformed> {
    match usize::try_from(count) {
        Ok(count @ 1..=MAX_PAGES) => Ok(count),
        _ => malformed(format!("a record has {count} pages")),
    }
}

/// Splits a stream that arrives in pieces into its items.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Where the next item starts in the buffer.
    start: usize,
    has_header: bool,
}

impl Reader {
    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend(bytes);
    }

    /// Whether all bytes have been returned in items.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// The next item, or `None` if its end has not arrived.
    pub fn next_item(&mut self) -> Result<Option<Item>, Malformed> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        if !self.has_header {
            let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
            self.has_header = true;
            self.start += HEADER;
            return Ok(Some(Item::Header(*header)));
        }
        let mut rest = bytes;
        let (Ok(kind), Ok(length)) = (take_u32(&mut rest), take_u32(&mut rest)) else { return Ok(None) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_BODY {
            return malformed(format!("a record of kind {kind} has {length} bytes"));
        }
        let whole = length + padding(length);
        let Some(body) = rest.get(..whole).and_then(|padded| padded.get(..length)) else { return Ok(None) };
        self.start += 8 + whole;
        Ok(Some(Item::Record { kind, body: body.to_vec() }))
    }
}
