//! The devices of the machine, for the hardware domain: frames of devices and firmware, I/O ports,
//! interrupts. Every operation takes a [`Hardware`]. There is one such value; the privilege check
//! keeps it and shows it for the hardware domain only.
//!
//! A device that its driver programs to do so writes to any memory, and there is no IOMMU in its
//! way: the hardware domain is trusted with that (`docs/soundness.md`, "The hardware domain"). What
//! these modules keep is that Paravane's own devices stay Paravane's, and that no frame of memory
//! is mapped as if it were a device's.

pub mod lines;
pub mod msix;
pub mod pci;
pub mod ports;
pub mod vector;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::addr::Mfn;
use crate::{boot, processor, ram};

pub use crate::device_memory::MAX_DEVICE_PAGES;
pub use vector::VECTORS;

/// The right to deal with devices.
#[derive(Debug)]
pub struct Hardware {
    _private: (),
}

/// The permitted use of a frame that is not the memory of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceFrame {
    /// Nothing: it is RAM, an interrupt controller, or beyond the addresses of the processor.
    Refused,
    /// It may be read: Paravane uses it itself, and others look at it.
    ReadOnly,
    /// It may be read and written.
    Writable,
}

static CLAIMED: AtomicBool = AtomicBool::new(false);

impl Hardware {
    /// The right itself, for the first caller.
    pub fn claim() -> Option<Self> {
        let first = CLAIMED.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        first.then_some(Self { _private: () })
    }

    /// The shift keys as the BIOS saw them; `None` if there was none.
    pub fn keyboard_flags(&self) -> Option<u8> {
        ram::keyboard_flags()
    }

    /// What the hardware domain may do to a frame that is no memory of a domain's.
    pub fn device_frame(&self, mfn: Mfn) -> DeviceFrame {
        let memory = boot::memory();
        let is_ram = memory.ram.iter().any(|range| range.contains(&mfn.get()));
        let in_reach = mfn.get() >> (processor::features().physical_bits - crate::addr::PAGE_SHIFT) == 0;
        if !in_reach || is_ram || memory.own_devices.contains(&mfn.get()) {
            DeviceFrame::Refused
        } else if memory.read_only.contains(&mfn.get())
            || memory.firmware.iter().any(|range| range.contains(&mfn.get()))
        {
            DeviceFrame::ReadOnly
        } else {
            DeviceFrame::Writable
        }
    }
}
