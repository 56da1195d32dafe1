//! The copy of an update from which processors load it.

use microcode::{Date, Rule, Update};

use crate::frames::Buffer;

/// An update in memory of Paravane's own. It begins at a page, as processors require an alignment
/// of 16 bytes.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Buffer,
    revision: u32,
    date: Date,
    same: bool,
}

impl Image {
    /// Copies an update, which the rule has admitted; `None` if there is no memory.
    pub(super) fn new(update: &Update<'_>, rule: Rule) -> Option<Self> {
        let mut bytes = Buffer::new(update.image.len())?;
        bytes.as_mut_slice().copy_from_slice(update.image);
        Some(Self { bytes, revision: update.revision, date: update.date, same: rule.same })
    }

    /// What the processor is given.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    pub(super) const fn revision(&self) -> u32 {
        self.revision
    }

    pub(super) const fn date(&self) -> Date {
        self.date
    }

    /// Whether processors that have this revision load it again.
    pub(super) const fn is_for_same(&self) -> bool {
        self.same
    }
}
