#![expect(unsafe_code, reason = "clears memory through the direct map")]
//! Memory allocation before the frame table exists: whole pages from the top of the free RAM below
//! 4 GiB. They are never freed.

use crate::boot::ranges::RangeSet;
use crate::integers::to_usize;
use crate::layout;

const LIMIT: u64 = 1 << 32;

/// The RAM that is still free.
pub(crate) struct Early {
    free: RangeSet,
}

impl Early {
    /// Starts with the free RAM; all of it below 4 GiB must be in the direct map.
    pub(crate) const fn new(free: RangeSet) -> Self {
        Self { free }
    }

    /// Takes `size` bytes aligned to `align`.
    ///
    /// # Panics
    /// If there is no such range: the machine has too little memory.
    pub(crate) fn take(&mut self, size: u64, align: u64) -> u64 {
        match self.free.take(size, align, LIMIT) {
            Some(start) => start,
            None => panic!(
                "not enough memory to start: {} KiB wanted, {} KiB free below 4 GiB",
                size >> 10,
                self.free.total() >> 10
            ),
        }
    }

    /// As `take`, zeroed.
    pub(crate) fn take_zeroed(&mut self, size: u64, align: u64) -> u64 {
        self.take_filled(size, align, 0)
    }

    /// As `take`, every byte set to `byte`.
    pub(crate) fn take_filled(&mut self, size: u64, align: u64, byte: u8) -> u64 {
        let start = self.take(size, align);
        // SAFETY: the range was free RAM until now and is below 4 GiB, hence in the boot direct
        // map.
        unsafe { (layout::direct(start) as *mut u8).write_bytes(byte, to_usize(size)) };
        start
    }

    /// The RAM that is left.
    pub(crate) fn into_free(self) -> RangeSet {
        self.free
    }
}
