//! Page-table entries as values, and the rules of the hardware that decide what may stand in a table.

mod descriptor;
mod entry;

use abi::errno::Errno;

pub use descriptor::check_descriptor;
pub use entry::{Entry, LeafFlags, RawEntry};
pub(crate) use entry::{admit_table_entry, leaf_with_flags};

use crate::addr::Mfn;
use crate::backend::ram;
use crate::frames::{AcquireError, Budget, FrameRef, L1};

/// First root-table slot that belongs to Paravane.
const FIRST_HYPERVISOR_SLOT: u16 = 256;
/// First root-table slot above Paravane's.
const END_HYPERVISOR_SLOTS: u16 = 272;

/// The policy that decides what a guest may enter into its page tables. `machine` makes sure that whatever it decides, no frame is
/// reached in two uses that exclude each other.
pub trait Admission {
    /// Decides on an L1 entry, present or not, that a guest wants to have.
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError>;

    /// A reference to a frame that a guest wants to link as a lower table.
    fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno>;
}

/// The policy for kinds that have no entries.
#[derive(Debug)]
pub struct NoEntries;

impl Admission for NoEntries {
    fn leaf(&mut self, _: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        Err(Errno::EPERM.into())
    }

    fn table(&mut self, _: Mfn) -> Result<FrameRef, Errno> {
        Err(Errno::EPERM)
    }
}

/// The root-table slot of the M2P.
pub(crate) const M2P_SLOT: u16 = FIRST_HYPERVISOR_SLOT;

/// Whether a root-table slot belongs to Paravane.
pub(crate) const fn is_hypervisor_slot(index: u16) -> bool {
    index >= FIRST_HYPERVISOR_SLOT && index < END_HYPERVISOR_SLOTS
}

/// Paravane's root-table slots and what stands in them.
pub(crate) fn hypervisor_entries() -> impl Iterator<Item = (u16, u64)> {
    (FIRST_HYPERVISOR_SLOT..END_HYPERVISOR_SLOTS).map(|index| (index, hypervisor_entry(index)))
}

/// What stands in one of Paravane's root-table slots.
pub(crate) fn hypervisor_entry(index: u16) -> u64 {
    ram::root_entry(usize::from(index - FIRST_HYPERVISOR_SLOT))
}
