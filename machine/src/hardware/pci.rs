//! PCI configuration space for the hardware domain.

use super::Hardware;
use super::ports::Width;
use crate::ports::pci;

pub use crate::ports::pci::Function;

impl Hardware {
    /// Reads from the first 256 bytes of a function's configuration space; ones if there is none.
    pub fn config_read(&self, function: Function, register: u8, width: Width) -> u32 {
        pci::read(function, register, width)
    }

    /// Writes to the first 256 bytes of a function's configuration space.
    pub fn config_write(&self, function: Function, register: u8, width: Width, value: u32) {
        pci::write(function, register, width, value);
    }
}
