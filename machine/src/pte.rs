//! The bits of a page-table entry as the processor reads them. A [`RawEntry`] owns nothing: it is a
//! guest's request, or a value read from a table.

use bitflags::bitflags;

use crate::addr::{MachineAddr, Mfn};

bitflags! {
    /// Bits of a page-table entry besides the frame (Intel SDM volume 3, 4.5).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct LeafFlags: u64 {
        /// The entry maps something.
        const PRESENT = 1 << 0;
        /// Writes are allowed.
        const WRITABLE = 1 << 1;
        /// Accessible to ring 3.
        const USER = 1 << 2;
        /// Write-through (bit 0 of the PAT index).
        const WRITE_THROUGH = 1 << 3;
        /// Cache disabled (bit 1 of the PAT index).
        const CACHE_DISABLED = 1 << 4;
        /// Set by the processor when used.
        const ACCESSED = 1 << 5;
        /// Set by the processor when written through.
        const DIRTY = 1 << 6;
        /// Bit 2 of the PAT index in an L1 entry, page size above.
        const PAT_OR_SIZE = 1 << 7;
        /// Survives root switches.
        const GLOBAL = 1 << 8;
        /// Free for software.
        const AVAILABLE = 7 << 9 | 0x7ff << 52;
        /// Not executable.
        const NO_EXECUTE = 1 << 63;
    }
}

/// Bits that select a memory type.
pub(crate) const CACHE_ATTRIBUTES: LeafFlags =
    LeafFlags::WRITE_THROUGH.union(LeafFlags::CACHE_DISABLED).union(LeafFlags::PAT_OR_SIZE);

/// Bits of the frame.
pub(crate) const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// The bits of an entry without ownership: a guest's request, or a value read from a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct RawEntry(u64);

impl RawEntry {
    /// An entry's bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether no bit is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flag bits.
    pub const fn flags(self) -> LeafFlags {
        LeafFlags::from_bits_truncate(self.0)
    }

    /// Whether the hardware would follow the entry.
    pub const fn is_present(self) -> bool {
        self.0 & LeafFlags::PRESENT.bits() != 0
    }

    /// Whether the entry allows writes.
    pub const fn is_writable(self) -> bool {
        self.0 & LeafFlags::WRITABLE.bits() != 0
    }

    /// The same bits with accessed and dirty added from `seen`, the entry in the table.
    #[must_use]
    pub const fn with_accessed_dirty(self, seen: Self) -> Self {
        Self(self.0 | seen.0 & (LeafFlags::ACCESSED.bits() | LeafFlags::DIRTY.bits()))
    }

    /// Whether `wanted` maps the same frame, or both are absent and contain the same frame number.
    pub const fn has_frame_of(self, wanted: Self) -> bool {
        (self.0 ^ wanted.0) & (FRAME_MASK | LeafFlags::PRESENT.bits()) == 0
    }

    /// Whether `wanted` maps the same frame and does not add write permission.
    pub const fn keeps_mapping(self, wanted: Self) -> bool {
        self.has_frame_of(wanted) && wanted.0 & !self.0 & LeafFlags::WRITABLE.bits() == 0
    }

    /// The frame number in the entry.
    pub const fn frame(self) -> Mfn {
        Mfn::containing(MachineAddr::new(self.0 & FRAME_MASK))
    }
}
