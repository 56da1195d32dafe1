//! Reasons for which data cannot be decompressed: towards the caller, and within a decoder.

use core::fmt;

/// Why data cannot be decompressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The first bytes are those of no known format.
    UnknownFormat,
    /// The data claim this decompressed size, which is above [`MAX_SIZE`](crate::MAX_SIZE).
    TooLarge(usize),
    /// The data, of this format, are inconsistent or do not have the size that they claim.
    Damaged(&'static str),
    /// The data use this feature, which is not supported.
    Unsupported(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat => f.write_str("it is compressed by none of gzip, xz, lz4 and zstd"),
            Self::TooLarge(size) => write!(f, "it claims to decompress to {size} bytes"),
            Self::Damaged(format) => write!(f, "its {format} data are damaged"),
            Self::Unsupported(what) => write!(f, "it is compressed with {what}"),
        }
    }
}

/// The stream ended early, was inconsistent, or did not fill its output exactly.
#[derive(Debug)]
pub(crate) struct Damaged;

/// Why a decoder of a format with variants failed.
pub(crate) enum Failure {
    Damaged,
    Unsupported(&'static str),
}

impl From<Damaged> for Failure {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}
