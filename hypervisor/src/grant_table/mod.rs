//! Grant tables, version 1: a domain grants frames of its own to another domain, which may map
//! them, copy them or receive them by transfer.
//!
//! Each domain has two sides, each with its own lock. As granter, it has the shared table and the
//! use counts of its entries ([`table::Table`]). As grantee, it has records of the grants that it
//! has mapped ([`maptrack::Maptrack`]). No operation holds the locks of two domains.
//!
//! - **GT-1** While an entry is in use its flags show it (`GTF_reading`, `GTF_writing`), unless the
//!   granter violates the protocol. A use is a value, [`pin::Pin`].
//! - **GT-2** A pin is dropped only after the last translation that depends on it has been flushed
//!   from every pCPU. From then on the granter may reuse the frame.
//! - **GT-3** A mapped frame is safe whatever happens to the pin: the page-table entry and the
//!   maptrack record each hold a reference to the frame.
//! - **GT-4** The guest can write entries at any time. Flags and domain are read and changed in one
//!   compare-exchange. The frame number is read once, and the frame must belong to the granter.

mod dump;
mod limits;
mod maptrack;
pub(crate) mod op;
mod page_table_entry;
mod pin;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use dump::describe;
pub(crate) use limits::Limits;
pub(crate) use maptrack::PER_FRAME as MAPPINGS_PER_FRAME;
pub(crate) use op::{OPERATIONS, grant_table_op};
pub(crate) use table::GrantRef;

use alloc::sync::Arc;

use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::boot::MAX_GRANT_FRAMES;
use machine::frames::{Budget, FrameRef, NoMemory};
use machine::sync::{Level, SpinLock, SpinLockGuard};

use self::maptrack::{Maptrack, Popped};
use self::table::{Frame, Table};
use crate::domain::{self, Domain};

/// Cost of adding a frame to a table, including clearing it and its entries' records, and cost of
/// returning a frame's number.
const COST_OF_FRAME: u32 = 96;
const COST_OF_LISTING: u32 = 2;
/// Cost of releasing a mapping, or of finding that a chunk has none left, and cost of freeing a
/// chunk.
const COST_OF_RECORD: u32 = 16;
const COST_OF_CHUNK: u32 = 16;
// The largest table can be listed in one call.
const _: () = assert!(MAX_GRANT_FRAMES * COST_OF_LISTING <= Budget::HYPERCALL / 4 * 3);

/// A domain's grants: those that it makes and those that it has mapped.
pub struct GrantTable {
    owner: DomainId,
    table: SpinLock<Table>,
    maptrack: SpinLock<Maptrack>,
}

impl GrantTable {
    /// Creates a table of one frame with unused entries.
    ///
    /// # Errors
    /// There is no free frame.
    pub fn new(owner: DomainId) -> Result<Self, NoMemory> {
        let limits = Limits::of_host();
        let mut table = Table::new(limits.frames);
        table.add_frame(Frame::new(domain::new_shared_page(owner)?)?, 1)?;
        Ok(Self {
            owner,
            table: SpinLock::new(Level::Grant, table),
            maptrack: SpinLock::new(Level::GrantPeer, Maptrack::new(limits.mappings)),
        })
    }

    /// Sets the limits of both sides.
    pub fn set_limits(&self, limits: Limits) {
        self.table().set_limit(limits.frames);
        self.maptrack().set_limit(limits.mappings);
    }

    /// Writes an entry on the domain's behalf before it runs: `to` may read and write `frame`.
    /// Returns `false` if there is no such entry.
    pub fn seed(&self, reference: GrantRef, to: DomainId, frame: Mfn) -> bool {
        self.table().seed(reference, to, frame)
    }

    /// Releases all mappings of a domain that is being destroyed, and its table. No pCPU may have
    /// cached translations of the domain. Returns `false` if the budget is exhausted first; the
    /// function is then called again.
    pub fn release_all(&self, domain: &Arc<Domain>, budget: &mut Budget) -> bool {
        debug_assert!(domain.id() == self.owner);
        loop {
            if budget.is_exhausted() {
                return false;
            }
            budget.spend(COST_OF_RECORD);
            // Dropped without the lock, since its pins take the granter's lock.
            let record = self.maptrack().pop();
            match record {
                Popped::Record(record) => drop(record),
                Popped::NoneInChunk => {}
                Popped::NoneLeft => break,
            }
        }
        // At least one chunk or frame per call, so that even the smallest budget makes progress.
        loop {
            let chunk = self.maptrack().pop_chunk();
            if chunk.is_none() {
                break;
            }
            drop(chunk);
            budget.spend(COST_OF_CHUNK);
            if budget.is_exhausted() {
                return false;
            }
        }
        self.table().close();
        loop {
            let frame = self.table().pop();
            if frame.is_none() {
                return true;
            }
            drop(frame);
            budget.spend(COST_OF_FRAME);
            if budget.is_exhausted() {
                return false;
            }
        }
    }

    /// The number of mapped grants. The lock is taken separately for each chunk.
    pub(crate) fn mapped(&self) -> usize {
        (0..).map_while(|chunk| self.maptrack().mapped_in(chunk)).sum()
    }

    /// Counts the references of both sides, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn count_held(&self, tally: &mut crate::testing::Tally) {
        self.table().count_held(tally);
        self.maptrack().count_held(tally);
    }

    /// Whether a mapping of this domain holds a grant of the frame, for writing if `write`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn permits(&self, frame: Mfn, write: bool) -> bool {
        self.maptrack().permits(frame, write)
    }

    /// Upper bound on the table's frames.
    pub fn most_frames(&self) -> u32 {
        self.table().limit()
    }

    /// Grows the table to at least `frames` frames. Returns `false` if the budget is exhausted
    /// first, or does not suffice to list the frames; the function is then called again.
    ///
    /// # Errors
    /// There is no free frame.
    pub fn grow(&self, frames: u32, budget: &mut Budget) -> Result<bool, NoMemory> {
        while self.table().frames() < frames {
            if budget.is_exhausted() {
                return Ok(false);
            }
            budget.spend(COST_OF_FRAME);
            let frame = Frame::new(domain::new_shared_page(self.owner)?)?;
            // Another vCPU may have grown the table. A surplus frame is dropped without the lock.
            let surplus = self.table().add_frame(frame, frames)?;
            drop(surplus);
        }
        let to_list = frames.saturating_mul(COST_OF_LISTING);
        let has_room = budget.has_room(to_list);
        if has_room {
            budget.spend(to_list);
        }
        Ok(has_room)
    }

    /// A frame of the table, by index.
    pub fn frame(&self, index: u32) -> Option<Mfn> {
        self.table().frame_number(index)
    }

    fn table(&self) -> SpinLockGuard<'_, Table> {
        self.table.lock()
    }

    fn maptrack(&self) -> SpinLockGuard<'_, Maptrack> {
        self.maptrack.lock()
    }
}

/// The frame with this number, taken from an entry or a guest, if `owner` owns it.
fn frame_of(owner: DomainId, number: u64) -> Option<FrameRef> {
    FrameRef::get(Mfn::new(number), owner)
}
