//! MSI-X tables: messages in device memory, each with a mask bit. Only Paravane writes them.

use super::{DeviceFrame, Hardware};
use crate::addr::{MachineAddr, Mfn};
use crate::device_memory;
use crate::integers::low_u32;

const ENTRY_SIZE: u64 = 16;
const MASKED: u32 = 1;

/// An entry of a device's MSI-X table.
#[derive(Debug)]
pub struct Entry {
    address: u64,
}

impl Hardware {
    /// Entry `index` of the table at `table`. Returns `None` if it is not in device memory, or if
    /// that memory cannot be mapped.
    pub fn msix_entry(&self, table: MachineAddr, index: u16) -> Option<Entry> {
        let address = table.get().checked_add(u64::from(index) * ENTRY_SIZE)?;
        let mfn = Mfn::containing(MachineAddr::new(address));
        if self.device_frame(mfn) != DeviceFrame::Writable || !address.is_multiple_of(ENTRY_SIZE) {
            return None;
        }
        let page = device_memory::map(mfn)?;
        Some(Entry { address: page + address % crate::addr::PAGE_SIZE as u64 })
    }
}

impl Entry {
    /// Writes the message. The entry is masked during the update, and stays masked if it was
    /// before.
    pub fn set_message(&self, (address, data): (u64, u32)) {
        let control = self.read(3);
        self.write(3, control | MASKED);
        self.write(0, low_u32(address));
        self.write(1, low_u32(address >> 32));
        self.write(2, data);
        self.write(3, control);
        // Reading flushes posted writes to the device.
        self.read(3);
    }

    /// Masks or unmasks the entry.
    pub fn mask(&self, masked: bool) {
        self.write(3, self.read(3) & !MASKED | u32::from(masked));
        self.read(3);
    }

    fn read(&self, word: u64) -> u32 {
        device_memory::read(self.address + word * 4)
    }

    fn write(&self, word: u64, value: u32) {
        device_memory::write(self.address + word * 4, value);
    }
}
