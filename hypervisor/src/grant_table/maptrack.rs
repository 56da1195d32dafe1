//! The grantee's side: the grants that it has mapped, by handle.

use alloc::boxed::Box;
use alloc::vec::Vec;

use machine::addr::Mfn;
use machine::frames::{FrameRef, TypedRef, Writable};
use machine::heap;
use machine::integers::low_u32;
use machine::speculation::MaskedIndex;

use super::pin::Pin;
use crate::limits::Limit;

/// Number of mappings that the interface counts as one maptrack frame.
pub(crate) const PER_FRAME: u32 = 256;
/// Number of records in a chunk.
const CHUNK: u32 = PER_FRAME;

/// A number that identifies a mapped grant to the grantee.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GrantHandle(u32);

impl GrantHandle {
    /// The handle with this number.
    pub(super) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The handle as a number.
    pub(super) const fn get(self) -> u32 {
        self.0
    }
}

/// A reference to a granted frame, of the kind that its mapping requires.
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

/// A mapped grant.
pub(super) struct Record {
    pub(super) hold: Hold,
    /// The use by a mapping in the page tables.
    pub(super) host: Option<Pin>,
    /// The use by devices.
    pub(super) device: Option<Pin>,
    /// Whether the mapping was specified by the machine address of its page-table entry.
    pub(super) contains_pte: bool,
}

pub(super) enum Slot {
    /// Free, with the next free slot, if any.
    Free(Option<GrantHandle>),
    /// Allocated, while an operation holds the record.
    Reserved,
    Mapped(Record),
}

/// Records that are allocated together.
pub(super) type Chunk = Box<[Slot]>;

/// The result of [`Maptrack::pop`].
pub(super) enum Popped {
    Record(Record),
    NoneInChunk,
    NoneLeft,
}

/// All mappings of a domain.
pub(super) struct Maptrack {
    chunks: Vec<Chunk>,
    free: Option<GrantHandle>,
    limit: u32,
    /// Index at which `pop` continues.
    popped: GrantHandle,
}

impl Maptrack {
    pub(super) const fn new(limit: u32) -> Self {
        Self { chunks: Vec::new(), free: None, limit, popped: GrantHandle(0) }
    }

    pub(super) const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    fn len(&self) -> u32 {
        // Less than `limit` plus one chunk.
        low_u32(self.chunks.len() as u64) * CHUNK
    }

    fn slot(&mut self, handle: GrantHandle) -> Option<&mut Slot> {
        self.chunks.masked_mut((handle.0 / CHUNK) as usize)?.masked_mut((handle.0 % CHUNK) as usize)
    }

    /// Allocates a handle.
    ///
    /// # Errors
    /// The limit that prevents it.
    pub(super) fn reserve(&mut self) -> Result<GrantHandle, Limit> {
        let handle = match self.free {
            Some(handle) => handle,
            None => self.add_chunk()?,
        };
        if let Some(slot) = self.slot(handle)
            && let Slot::Free(next) = *slot
        {
            *slot = Slot::Reserved;
            self.free = next;
        }
        Ok(handle)
    }

    /// Adds a chunk of free handles. Returns the first.
    fn add_chunk(&mut self) -> Result<GrantHandle, Limit> {
        let first = self.len();
        if first.saturating_add(CHUNK) > self.limit {
            return Err(Limit::GrantMappings);
        }
        if heap::is_short() {
            return Err(Limit::OwnMemory);
        }
        let mut chunk = Vec::new();
        self.chunks.try_reserve(1).map_err(|_| Limit::OwnMemory)?;
        chunk.try_reserve_exact(CHUNK as usize).map_err(|_| Limit::OwnMemory)?;
        chunk.extend((1..=CHUNK).map(|next| Slot::Free((next < CHUNK).then_some(GrantHandle(first + next)))));
        self.chunks.push(chunk.into_boxed_slice());
        self.free = Some(GrantHandle(first));
        Ok(GrantHandle(first))
    }

    /// Frees a handle from `reserve` or `take`.
    pub(super) fn cancel(&mut self, handle: GrantHandle) {
        let next = self.free;
        if let Some(slot @ Slot::Reserved) = self.slot(handle) {
            *slot = Slot::Free(next);
            self.free = Some(handle);
        }
    }

    /// Stores the record of a handle from `reserve` or `take`.
    pub(super) fn put(&mut self, handle: GrantHandle, record: Record) {
        if let Some(slot @ Slot::Reserved) = self.slot(handle) {
            *slot = Slot::Mapped(record);
        }
    }

    /// Removes a record. The handle stays allocated, so no other operation can use it until `put`
    /// or `cancel`.
    pub(super) fn take(&mut self, handle: GrantHandle) -> Option<Record> {
        let slot = self.slot(handle)?;
        match core::mem::replace(slot, Slot::Reserved) {
            Slot::Mapped(record) => Some(record),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Removes any one record, for a domain that is being destroyed. Searches at most one chunk,
    /// since other code needs the lock.
    pub(super) fn pop(&mut self) -> Popped {
        let end = self.len().min((self.popped.0 / CHUNK + 1) * CHUNK);
        while self.popped.0 < end {
            let record = self.take(self.popped);
            if let Some(record) = record {
                self.cancel(self.popped);
                return Popped::Record(record);
            }
            self.popped.0 += 1;
        }
        if self.popped.0 < self.len() { Popped::NoneInChunk } else { Popped::NoneLeft }
    }

    /// Removes the last chunk, for a domain that is being destroyed and has no records left.
    pub(super) fn pop_chunk(&mut self) -> Option<Chunk> {
        // The list of free handles contains handles of all chunks.
        self.free = None;
        self.chunks.pop()
    }

    /// Whether a chunk has a record of the frame, or `None` after the last chunk.
    pub(super) fn chunk_has(&self, chunk: usize, mfn: Mfn) -> Option<bool> {
        let slots = self.chunks.masked(chunk)?;
        Some(slots.iter().any(|slot| matches!(slot, Slot::Mapped(record) if record.hold.mfn() == mfn)))
    }

    /// Counts the references of the records, for the recount of the frame table.
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

    /// Whether a mapping in the page tables holds a grant of the frame, for writing if `write`.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn permits(&self, frame: Mfn, write: bool) -> bool {
        let permits = |pin: &Pin| pin.is_writable() || !write;
        self.chunks.iter().flatten().any(|slot| match slot {
            Slot::Mapped(record) => record.hold.mfn() == frame && record.host.as_ref().is_some_and(permits),
            Slot::Free(_) | Slot::Reserved => false,
        })
    }

    /// The number of records in a chunk, or `None` after the last chunk.
    pub(super) fn mapped_in(&self, chunk: usize) -> Option<usize> {
        Some(self.chunks.masked(chunk)?.iter().filter(|slot| matches!(slot, Slot::Mapped(_))).count())
    }
}
