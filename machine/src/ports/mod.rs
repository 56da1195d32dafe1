//! I/O ports by number and width, and PCI configuration space, which two of them lead to.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
pub(crate) mod pci;

#[cfg(not(target_os = "none"))]
pub use backend::{config, set_config};
pub(crate) use backend::{read, write};

/// How much is moved at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Double,
}

impl Width {
    /// In bytes.
    pub const fn bytes(self) -> u16 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Double => 4,
        }
    }

    /// All ones.
    pub const fn ones(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Double => 0xffff_ffff,
        }
    }
}
