//! The stream of a guest: what `libxenguest` writes and reads, what `xl restore` reads, and the
//! compact form in between.
//!
//! Everything here is a function of bytes. The compact form comes from another host, so its parser
//! treats it as hostile: each length is checked before it is used, memory is bounded by the limits
//! below, and only what a PV guest's stream contains passes, in the order in which it must be.

mod bytes;
pub mod compact;
pub mod record;
pub mod save_file;

use std::fmt;

/// Size of a page in bytes.
pub const PAGE: usize = 4096;

/// Most pages in a record; `libxenguest` sends as many at once.
pub const MAX_PAGES: usize = 1024;

/// Largest body of a record in bytes. The largest that occur are pages, and the list of the P2M's
/// frames, 1 MiB for a guest with 256 GiB.
pub const MAX_BODY: usize = MAX_PAGES * (PAGE + 8) + 8;

/// What is wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) String);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "malformed guest stream: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Fails with this description.
fn malformed<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

#[cfg(test)]
mod tests;
