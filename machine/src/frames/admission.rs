//! The policy that decides what a guest may enter into its page tables.

use abi::errno::Errno;

use super::entry::Entry;
use super::reference::{FrameRef, L1};
use super::transition::{AcquireError, Budget};
use crate::addr::Mfn;
use crate::pte::RawEntry;

/// The policy that decides what a guest may enter into its page tables. `machine` makes sure that
/// whatever it decides, no frame is reached in two uses that exclude each other.
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
