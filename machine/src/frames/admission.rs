//! The policy that decides which entries a guest may have in its page tables.

use abi::errno::Errno;

use super::entry::Entry;
use super::reference::{FrameRef, L1};
use super::transition::{AcquireError, Budget};
use crate::addr::Mfn;
use crate::pte::RawEntry;

/// The policy that decides which entries a guest may have in its page tables. Whatever it decides,
/// `machine` ensures that no frame is used in two ways that exclude each other.
pub trait Admission {
    /// Admits or refuses a guest's L1 entry, present or not.
    fn leaf(&mut self, raw: RawEntry, budget: &mut Budget) -> Result<Entry<L1>, AcquireError>;

    /// A reference to a frame that a guest links as a lower table.
    fn table(&mut self, mfn: Mfn) -> Result<FrameRef, Errno>;

    /// Admits or refuses an entry of any level that is not present although its bits name memory. A
    /// processor with L1TF lets a guest read that memory if it is in the level 1 data cache.
    fn absent_naming_memory(&mut self, raw: RawEntry) -> Result<(), Errno>;
}

/// The policy for kinds without entries.
#[derive(Debug)]
pub struct NoEntries;

impl Admission for NoEntries {
    fn leaf(&mut self, _: RawEntry, _: &mut Budget) -> Result<Entry<L1>, AcquireError> {
        Err(Errno::EPERM.into())
    }

    fn table(&mut self, _: Mfn) -> Result<FrameRef, Errno> {
        Err(Errno::EPERM)
    }

    fn absent_naming_memory(&mut self, _: RawEntry) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
}
