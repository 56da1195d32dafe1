//! The grantee's side: which grants it has mapped, by the handles that it was given.

use alloc::vec::Vec;

use machine::addr::Mfn;
use machine::frames::{FrameRef, TypedRef, Writable};
use machine::heap;

use super::pin::Pin;

/// Mappings that a domain may have at a time, unless its creator says otherwise.
const DEFAULT_LIMIT: u32 = 16 * 1024;
/// Mappings that the interface counts as one frame of records.
pub(super) const PER_FRAME: u32 = 256;
/// The most mappings that a domain can be allowed: they take room in Paravane's heap.
const MOST: u32 = 64 * 1024;
/// Records in a chunk of the table.
const CHUNK: u32 = 128;

/// A granted frame, held as it is mapped.
pub(super) enum Hold {
    Read(FrameRef),
    Write(TypedRef<Writable>),
}

impl Hold {
    pub(super) fn mfn(&self) -> Mfn {
        match self {
            Self::Read(frame) => frame.mfn(),
            Self::Write(frame) => frame.mfn(),
        }
    }
}

/// A grant that is mapped.
pub(super) struct Record {
    pub(super) hold: Hold,
    /// The use by a mapping in the page tables.
    pub(super) host: Option<Pin>,
    /// The use by devices.
    pub(super) device: Option<Pin>,
    /// Whether the mapping was named by its entry's machine address.
    pub(super) contains_pte: bool,
}

enum Slot {
    /// With the next free one, or none.
    Free(Option<u32>),
    /// Given out, the record in somebody's hands.
    Reserved,
    Mapped(Record),
}

/// What [`Maptrack::pop`] has found.
pub(super) enum Popped {
    Record(Record),
    NoneInChunk,
    NoneLeft,
}

/// All mappings of a domain.
pub(super) struct Maptrack {
    chunks: Vec<Vec<Slot>>,
    free: Option<u32>,
    limit: u32,
    /// Where `pop` goes on.
    popped: u32,
}

impl Maptrack {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: None, limit: DEFAULT_LIMIT, popped: 0 }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(MOST);
    }

    fn len(&self) -> u32 {
        // Below `limit` plus a chunk.
        self.chunks.len() as u32 * CHUNK
    }

    fn slot(&mut self, handle: u32) -> Option<&mut Slot> {
        self.chunks.get_mut((handle / CHUNK) as usize)?.get_mut((handle % CHUNK) as usize)
    }

    /// A new handle; `None` if there are no more.
    pub(super) fn reserve(&mut self) -> Option<u32> {
        if self.free.is_none() {
            self.add_chunk()?;
        }
        let handle = self.free?;
        let slot = self.slot(handle)?;
        let Slot::Free(next) = *slot else { return None };
        *slot = Slot::Reserved;
        self.free = next;
        Some(handle)
    }

    fn add_chunk(&mut self) -> Option<()> {
        let first = self.len();
        if first.saturating_add(CHUNK) > self.limit || heap::is_short() {
            return None;
        }
        let mut chunk = Vec::new();
        self.chunks.try_reserve(1).ok()?;
        chunk.try_reserve_exact(CHUNK as usize).ok()?;
        chunk.extend((1..=CHUNK).map(|next| Slot::Free((next < CHUNK).then_some(first + next))));
        self.chunks.push(chunk);
        self.free = Some(first);
        Some(())
    }

    /// Gives a handle from `reserve` or `take` back.
    pub(super) fn cancel(&mut self, handle: u32) {
        let next = self.free;
        if let Some(slot @ Slot::Reserved) = self.slot(handle) {
            *slot = Slot::Free(next);
            self.free = Some(handle);
        }
    }

    /// Puts the record of a handle from `reserve` or `take` in its place.
    pub(super) fn put(&mut self, handle: u32, record: Record) {
        if let Some(slot @ Slot::Reserved) = self.slot(handle) {
            *slot = Slot::Mapped(record);
        }
    }

    /// Takes a record out; the handle stays given out, so nobody else can get at it until `put` or `cancel`.
    pub(super) fn take(&mut self, handle: u32) -> Option<Record> {
        let slot = self.slot(handle)?;
        match core::mem::replace(slot, Slot::Reserved) {
            Slot::Mapped(record) => Some(record),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Takes any one record out, for a domain that ends. It looks for one in a chunk at most, since others need the lock.
    pub(super) fn pop(&mut self) -> Popped {
        let end = self.len().min((self.popped / CHUNK + 1) * CHUNK);
        while self.popped < end {
            let record = self.take(self.popped);
            if let Some(record) = record {
                self.cancel(self.popped);
                return Popped::Record(record);
            }
            self.popped += 1;
        }
        if self.popped < self.len() { Popped::NoneInChunk } else { Popped::NoneLeft }
    }

    /// Whether one of the records of a chunk is of a frame; `None` behind the last chunk.
    pub(super) fn chunk_has(&self, chunk: usize, mfn: Mfn) -> Option<bool> {
        let slots = self.chunks.get(chunk)?;
        Some(slots.iter().any(|slot| matches!(slot, Slot::Mapped(record) if record.hold.mfn() == mfn)))
    }

    /// What the records hold, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn count_held(&self, tally: &mut crate::testing::Tally) {
        for slot in self.chunks.iter().flatten() {
            match slot {
                Slot::Mapped(Record { hold: Hold::Read(frame), .. }) => tally.reference(frame.mfn()),
                Slot::Mapped(Record { hold: Hold::Write(page), .. }) => tally.typed(page.mfn()),
                Slot::Free(_) | Slot::Reserved => {}
            }
        }
    }

    /// How many grants are mapped.
    pub(super) fn mapped(&self) -> usize {
        self.chunks.iter().flatten().filter(|slot| matches!(slot, Slot::Mapped(_))).count()
    }
}
