//! Reasons for which a file of microcode is refused.

use core::fmt;

/// Why a file has no update that is to be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The first bytes are those of no update for processors of this maker.
    Unknown,
    /// This part goes beyond the end of the file.
    Truncated(&'static str),
    /// The checksum of this part is wrong.
    Checksum(&'static str),
    /// This part contradicts the format.
    Malformed(&'static str),
    /// The file is sound, but contains no update for this processor.
    OtherProcessor,
    /// The newest update for this processor is not newer than the current one.
    NotNewer {
        /// Its revision.
        offered: u32,
        /// The processor's revision.
        current: u32,
    },
    /// The processor cannot be updated from its revision once it has been in use: an update is
    /// loaded during boot, or requires this revision first.
    OnlyEarly {
        /// The revision from which the update may be loaded late; zero if there is none.
        minimum: u32,
    },
    /// The processor does not survive an update of this revision.
    Final(u32),
}

impl Error {
    /// Whether the file is damaged, or not of the format.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Unknown | Self::Truncated(_) | Self::Checksum(_) | Self::Malformed(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is not microcode of this processor's maker"),
            Self::Truncated(part) => write!(f, "it is damaged: {part} is truncated"),
            Self::Checksum(part) => write!(f, "it is damaged: the checksum of {part} is wrong"),
            Self::Malformed(part) => write!(f, "it is damaged: {part} is malformed"),
            Self::OtherProcessor => f.write_str("it is for other processors"),
            Self::NotNewer { offered, current } => {
                write!(f, "its revision {offered:#x} is not newer than {current:#x}")
            }
            Self::OnlyEarly { minimum: 0 } => f.write_str("this processor is updated only during boot"),
            Self::OnlyEarly { minimum } => {
                write!(f, "it is loaded only during boot, or from revision {minimum:#x} on")
            }
            Self::Final(revision) => write!(f, "this processor cannot be updated from its revision {revision:#x}"),
        }
    }
}
