//! The compact form of a stream: pages of zeros are named, not sent.
//!
//! An item is its kind, the length of its body in this form, and the body. The body of a record of
//! pages is the number of pages, their entries as in the stream, a bit for each page with contents
//! that is set if they are not zero, and the contents of these. All other bodies are those of the
//! stream. The kind of the headers is [`HEADERS`].

use super::bytes::{numbers, take, take_u32};
use super::record::{self, HEADER, Item, kind};
use super::{MAX_BODY, Malformed, PAGE, malformed};

/// The kind of the item that has the headers.
const HEADERS: u32 = u32::MAX;

/// Length of a compact item before its body.
const PREFIX: usize = 8;

/// Largest length of a compact item in bytes.
pub const MAX_ITEM: usize = PREFIX + MAX_BODY + super::MAX_PAGES / 8;

/// Pages that were sent, by their contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Pages with contents other than zeros.
    pub sent: u64,
    /// Pages of zeros.
    pub zero: u64,
}

/// Appends an item in compact form; counts its pages.
pub fn encode(item: &Item, compact: &mut Vec<u8>, pages: &mut Pages) -> Result<(), Malformed> {
    match item {
        Item::Header(header) => put(compact, HEADERS, |compact| compact.extend(header)),
        Item::Record { kind: kind::PAGE_DATA, body } => {
            let (entries, contents) = record::pages(body)?;
            put(compact, kind::PAGE_DATA, |compact| encode_pages(entries, contents, compact, pages));
        }
        Item::Record { kind, body } => put(compact, *kind, |compact| compact.extend(body)),
    }
    Ok(())
}

/// Appends an item's kind and length, and the body that `body` appends.
fn put(compact: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = compact.len();
    compact.extend(kind.to_le_bytes());
    compact.extend([0; 4]);
    body(compact);
    let length = u32::try_from(compact.len() - start - PREFIX).unwrap_or(u32::MAX);
    if let Some(place) = compact.get_mut(start + 4..start + PREFIX) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

fn encode_pages(entries: &[u8], contents: &[u8], compact: &mut Vec<u8>, pages: &mut Pages) {
    let count = u32::try_from(entries.len() / 8).unwrap_or(u32::MAX);
    compact.extend(count.to_le_bytes());
    compact.extend(entries);
    let is_used: Vec<bool> = contents.chunks(PAGE).map(|page| page.iter().any(|&byte| byte != 0)).collect();
    compact.extend(
        is_used
            .chunks(8)
            .map(|eight| eight.iter().enumerate().map(|(bit, &used)| u8::from(used) << bit).fold(0, |a, b| a | b)),
    );
    for (page, used) in contents.chunks(PAGE).zip(is_used) {
        if used {
            compact.extend(page);
            pages.sent += 1;
        } else {
            pages.zero += 1;
        }
    }
}

/// Restores a stream from its compact form, and checks it.
#[derive(Debug)]
pub struct Expander {
    phase: Phase,
    /// Largest page number that the guest's P2M may have.
    limit: u64,
    /// One more than the largest page number, by the list of the P2M's frames.
    pages: u64,
}

/// How much of the stream has passed. Each phase allows its own records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Nothing.
    Start,
    /// The headers; PV information and CPU policies follow.
    Static,
    /// These; the list of the P2M's frames follows.
    Described,
    /// The list; pages and the state of vCPUs follow.
    Contents,
    /// The end record.
    End,
}

impl Expander {
    /// An expander for a guest whose largest page number is at most `limit`.
    pub fn new(limit: u64) -> Self {
        Self { phase: Phase::Start, limit, pages: 0 }
    }

    /// Whether the end record has passed.
    pub fn has_ended(&self) -> bool {
        self.phase == Phase::End
    }

    /// Appends the items of `compact`, a whole number of them, to `stream`.
    pub fn expand(&mut self, mut compact: &[u8], stream: &mut Vec<u8>) -> Result<(), Malformed> {
        while !compact.is_empty() {
            let kind = take_u32(&mut compact)?;
            let length = usize::try_from(take_u32(&mut compact)?).unwrap_or(usize::MAX);
            let body = take(&mut compact, length)?;
            self.item(kind, body)?.write(stream);
        }
        Ok(())
    }

    /// The item with this compact body.
    fn item(&mut self, kind: u32, body: &[u8]) -> Result<Item, Malformed> {
        if body.len() > MAX_ITEM {
            return malformed(format!("an item of kind {kind} has {} bytes", body.len()));
        }
        self.phase = self.after(kind)?;
        match kind {
            HEADERS => header(body),
            kind::PAGE_DATA => self.page_data(body),
            kind::P2M_FRAMES => {
                self.pages = self.p2m_size(body)?;
                Ok(Item::Record { kind, body: body.to_vec() })
            }
            _ => Ok(Item::Record { kind, body: body.to_vec() }),
        }
    }

    /// The phase after a record of this kind, if it is allowed now.
    fn after(&self, kind: u32) -> Result<Phase, Malformed> {
        match (self.phase, kind) {
            (Phase::Start, HEADERS) => Ok(Phase::Static),
            (Phase::Static, kind::PV_INFO | kind::CPUID_POLICY | kind::MSR_POLICY) => Ok(Phase::Static),
            (Phase::Static, kind::STATIC_DATA_END) => Ok(Phase::Described),
            (Phase::Described, kind::P2M_FRAMES) => Ok(Phase::Contents),
            (
                Phase::Contents,
                kind::PAGE_DATA
                | kind::TSC_INFO
                | kind::SHARED_INFO
                | kind::VCPU_BASIC
                | kind::VCPU_EXTENDED
                | kind::VCPU_XSAVE
                | kind::VCPU_MSRS,
            ) => Ok(Phase::Contents),
            (Phase::Contents, kind::END) => Ok(Phase::End),
            (phase, kind) => malformed(format!("a record of kind {kind} in phase {phase:?}")),
        }
    }

    /// The number of pages that a list of the P2M's frames covers.
    fn p2m_size(&self, mut body: &[u8]) -> Result<u64, Malformed> {
        let (first, last) = (take_u32(&mut body)?, take_u32(&mut body)?);
        let pages = u64::from(last) + 1;
        if first != 0 || u64::from(last) > self.limit {
            return malformed(format!("a P2M of the pages {first} to {last}, where {} is the last", self.limit));
        }
        // A frame of the P2M has 512 entries.
        if u64::try_from(body.len()).ok() != Some(pages.div_ceil(512) * 8) {
            return malformed(format!("{} bytes for the P2M of {pages} pages", body.len()));
        }
        Ok(pages)
    }

    /// A record of pages, with its pages of zeros.
    fn page_data(&self, mut body: &[u8]) -> Result<Item, Malformed> {
        let number = take_u32(&mut body)?;
        let count = record::page_count(number)?;
        let entries = take(&mut body, count * 8)?;
        if let Some(entry) =
            numbers(entries).find(|&entry| !record::is_entry(entry) || record::page_number(entry) >= self.pages)
        {
            return malformed(format!("{entry:#x} is not a page"));
        }
        let with_contents = numbers(entries).filter(|&entry| record::has_contents(entry)).count();
        let used = take(&mut body, with_contents.div_ceil(8))?;
        let bits = used.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 != 0));
        if bits.clone().skip(with_contents).any(|bit| bit) {
            return malformed("it marks pages that are not there");
        }
        let mut record = Vec::with_capacity(8 + entries.len() + with_contents * PAGE);
        record.extend(number.to_le_bytes());
        record.extend([0; 4]);
        record.extend(entries);
        for is_used in bits.take(with_contents) {
            if is_used {
                record.extend(take(&mut body, PAGE)?);
            } else {
                record.resize(record.len() + PAGE, 0);
            }
        }
        if !body.is_empty() {
            return malformed(format!("{} bytes after the pages of a record", body.len()));
        }
        Ok(Item::Record { kind: kind::PAGE_DATA, body: record })
    }
}

/// The headers, if they are those of a PV guest with 4 KiB pages in version 3.
fn header(body: &[u8]) -> Result<Item, Malformed> {
    let Ok(header) = <[u8; HEADER]>::try_from(body) else {
        return malformed(format!("{} bytes of headers", body.len()));
    };
    let fixed = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x58, 0x45, 0x4e, 0x46, 0, 0, 0, 3];
    let domain = [1, 0, 0, 0, 12, 0, 0, 0];
    if header.get(..24) != Some([fixed.as_slice(), &[0; 8]].concat().as_slice()) || header.get(24..32) != Some(&domain)
    {
        return malformed("its headers are not those of a PV guest in version 3");
    }
    Ok(Item::Header(header))
}
