//! Grant tables, version 1: a domain names frames of its own that another domain may map, copy or be given.
//!
//! Each domain has two sides with a lock each. As granter: the shared table and how often each of its entries is in use
//! ([`table::Table`]). As grantee: what it has mapped ([`maptrack::Maptrack`]). No operation holds two domains' locks.
//!
//! - **GT-1** While an entry is in use its flags say so (`GTF_reading`, `GTF_writing`), unless the granter breaks the
//!   protocol. A use is a value, [`pin::Pin`].
//! - **GT-2** A pin goes only after the last translation that it stands for has been flushed from every pCPU: from then
//!   on the granter may use the frame for something else.
//! - **GT-3** What a mapping reaches is safe whatever happens to the pin: page-table entry and maptrack record each
//!   hold a reference to the frame.
//! - **GT-4** Entries are the guest's to write at any time: flags and domain are read and changed in one exchange, the
//!   frame number is read once, and what it names must belong to the granter.

mod dump;
mod limits;
mod mapping;
mod maptrack;
pub(crate) mod op;
mod pin;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use dump::describe;
pub(crate) use limits::Limits;
pub(crate) use maptrack::PER_FRAME as MAPPINGS_PER_FRAME;
pub(crate) use op::{OPERATIONS, grant_table_op};

use alloc::sync::Arc;

use abi::xen::DomainId;
use machine::addr::Mfn;
use machine::boot::MAX_GRANT_FRAMES;
use machine::frames::{Budget, FrameRef, NoMemory};
use machine::sync::{Level, SpinLock, SpinLockGuard};

use self::maptrack::{Maptrack, Popped};
use self::table::{Frame, Table};
use crate::domain::{self, Domain};

/// What it costs to add a frame to a table, which is cleared, and the records of its entries; and
/// to tell a frame's number.
const COST_OF_FRAME: u32 = 96;
const COST_OF_LISTING: u32 = 2;
/// What it costs to let go of a mapping, or to find that a chunk has none left; and to give the
/// memory of a chunk back.
const COST_OF_RECORD: u32 = 16;
const COST_OF_CHUNK: u32 = 16;
// The whole of the largest table is listed in one call.
const _: () = assert!(MAX_GRANT_FRAMES * COST_OF_LISTING <= Budget::HYPERCALL / 4 * 3);

/// A domain's grants: those it gives and those it has mapped.
pub struct GrantTable {
    owner: DomainId,
    table: SpinLock<Table>,
    maptrack: SpinLock<Maptrack>,
}

impl GrantTable {
    /// A table of one frame, all entries unused.
    ///
    /// # Errors
    /// If there is no free frame.
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

    /// Sets how far both sides may grow.
    pub fn set_limits(&self, limits: Limits) {
        self.table().set_limit(limits.frames);
        self.maptrack().set_limit(limits.mappings);
    }

    /// Fills in an entry on the domain's behalf, before it runs: `to` may read and write `frame`. `false` if there is
    /// no such entry.
    pub fn seed(&self, reference: u32, to: DomainId, frame: Mfn) -> bool {
        self.table().seed(reference, to, frame)
    }

    /// Lets go of all that a domain that is being destroyed has mapped, and of its table. No pCPU
    /// may have translations of the domain's cached any more. `false` if the budget ended it before
    /// the end; then it is called again.
    pub fn release_all(&self, domain: &Arc<Domain>, budget: &mut Budget) -> bool {
        debug_assert!(domain.id() == self.owner);
        loop {
            if budget.is_exhausted() {
                return false;
            }
            budget.spend(COST_OF_RECORD);
            // Dropped without the lock: its pins take the granter's.
            let record = self.maptrack().pop();
            match record {
                Popped::Record(record) => drop(record),
                Popped::NoneInChunk => {}
                Popped::NoneLeft => break,
            }
        }
        // One chunk or frame at least, so that even the smallest budget comes to the end some time.
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

    /// How many grants of others are mapped. The lock is taken for each chunk by itself.
    pub(crate) fn mapped(&self) -> usize {
        (0..).map_while(|chunk| self.maptrack().mapped_in(chunk)).sum()
    }

    /// What both sides hold, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn count_held(&self, tally: &mut crate::testing::Tally) {
        self.table().count_held(tally);
        self.maptrack().count_held(tally);
    }

    /// How many frames the table may grow to.
    pub fn most_frames(&self) -> u32 {
        self.table().limit()
    }

    /// Makes the table have `frames` frames at least, if the budget allows. `false` if it ended it
    /// before the end, or does not suffice to list the frames: then it is called again.
    ///
    /// # Errors
    /// If there is no free frame.
    pub fn grow(&self, frames: u32, budget: &mut Budget) -> Result<bool, NoMemory> {
        while self.table().frames() < frames {
            if budget.is_exhausted() {
                return Ok(false);
            }
            budget.spend(COST_OF_FRAME);
            let frame = Frame::new(domain::new_shared_page(self.owner)?)?;
            // Another vCPU may have been faster; what is too much is dropped without the lock.
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

    /// A frame of the table, by its place.
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

/// A frame of `owner`'s by the number that an entry or a guest gave.
fn frame_of(owner: DomainId, number: u64) -> Option<FrameRef> {
    FrameRef::get(Mfn::new(number), owner)
}
