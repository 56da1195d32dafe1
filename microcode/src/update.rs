//! An update as the files of both makers contain it.

use core::fmt;

/// An update for a processor, in the file that contains it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Update<'a> {
    /// Its revision.
    pub revision: u32,
    /// Its date.
    pub date: Date,
    /// What the processor is given: for Intel the part behind the header, for AMD all of it.
    pub image: &'a [u8],
    /// The oldest revision from which it may be loaded late; zero if the maker names none.
    pub(crate) minimum: u32,
}

/// A date, as the headers have it: month, day and year in binary-coded decimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date(pub u32);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}-{:02x}-{:02x}", self.0 & 0xffff, self.0 >> 24, self.0 >> 16 & 0xff)
    }
}
