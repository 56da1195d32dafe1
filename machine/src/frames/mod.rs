//! The frame table: each machine frame's owner, its references, and its permitted use.
//!
//! The hardware walks a guest's page tables as the guest wrote them, so safety rests on two counts
//! per frame. The existence count prevents a frame from being given to another owner. The use count
//! keeps it in its current kind. Kinds exclude each other, so a frame that is a page table has no
//! writable mapping.
//!
//! Invariants, which the property tests recount from scratch:
//!
//! - **FT-1** A frame's existence count equals the number of live `FrameRef`s of it. Each of these
//!   holds one: an `Allocation` (also inside an `Extent` or `Chain`), a `TypedRef`, a pin, a place
//!   in a teardown queue, and a present leaf or table entry in an owned prefix (FT-5).
//! - **FT-2** A frame's use count equals the number of live `TypedRef`s of it, including those
//!   inside pins and entries. The kind changes only while it is zero.
//! - **FT-3** A guest can write to a frame (through any translation, cached ones included) only
//!   while its kind is `Writable` with a use count above zero, or until the flush that the next
//!   change of kind performs (see `tlb::clock`, TC-4).
//! - **FT-4** Only a thread that set BUSY changes the progress of a table. A thread never waits for
//!   a BUSY frame of another kind or a higher level, so waiting forms no cycle. A wait ends with
//!   the budget.
//! - **FT-5** Entries `[0, progress)` of a page-table frame own the references named by their bits:
//!   a present L1 entry with R/W a `TypedRef<Writable>`, another present L1 entry a `FrameRef`, a
//!   present entry of level n a `TypedRef` of level n-1. Entries of frames outside the table
//!   (devices) own nothing.
//! - **FT-6** A frame with a use count above zero and a page-table kind has progress 512: tables in
//!   use are completely validated.
//! - **FT-7** A frame whose use count is zero and whose progress is above zero is queued for
//!   teardown (TD-1), or held by a `Promotion`.
//! - **FT-8** A frame with existence count zero is either on a free list or in one `Buffer`.

mod access;
mod admission;
mod allocator;
mod buffer;
mod descriptor;
pub mod dirty_log;
mod entry;
mod extent;
mod list;
mod owner;
mod reference;
mod root_slots;
mod slot;
mod table;
mod teardown;
mod transition;

#[cfg(not(target_os = "none"))]
pub mod audit;
#[cfg(not(target_os = "none"))]
pub(crate) mod reach;

pub use access::SharedPage;
pub use admission::{Admission, NoEntries};
pub use allocator::{add_free_range, allocate, free_frames, total_frames};
pub use buffer::Buffer;
pub use descriptor::check_descriptor;
pub use dirty_log::set_number;
pub use entry::{Entry, names_memory};
pub use extent::{Block, Chain, Extent};
pub use list::FrameList;
pub use owner::{note_owner_emptied, owned_by, owner_emptied, take_owner_emptied};
pub use reference::{
    Allocation, Descriptor, FrameRef, Kind, L1, L2, L3, L4, Level, NoMemory, SharedReadOnly, TypedRef, Writable,
};
pub use slot::{KindCode, is_ram, table_size};
pub use table::{Leaf, ReplaceError, TableRef};
#[cfg(not(target_os = "none"))]
pub use teardown::any_waiting;
pub use teardown::{
    Teardown, left_tables, note_orphaned_tables, note_torn_down, orphaned_tables, take_orphaned_tables,
};
pub use transition::{AcquireError, Budget, Promotion};

#[cfg(test)]
pub(crate) use owner::{maps_others, note_maps_others};
