//! The devices of the machine, for the hardware domain: frames of devices and firmware, I/O ports,
//! interrupts. Every operation takes a [`Hardware`]. There is one such value, which the hypervisor
//! keeps and passes on only on behalf of the hardware domain.
//!
//! The hardware domain is trusted with the devices' DMA, since Paravane programs no IOMMU
//! (`docs/soundness.md`, "Trust"). These modules ensure that Paravane's own devices stay under its
//! control, and that no frame of RAM is mapped as a device frame.

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

/// The permission to operate devices.
#[derive(Debug)]
pub struct Hardware {
    _private: (),
}

/// The permitted use of a frame that is not the memory of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceFrame {
    /// Not accessible: RAM, an interrupt controller, or beyond the processor's physical addresses.
    Refused,
    /// Readable: the HPET, the start-up code of CPUs, or firmware that runs in ring 0.
    ReadOnly,
    /// Readable and writable.
    Writable,
}

static CLAIMED: AtomicBool = AtomicBool::new(false);

impl Hardware {
    /// The permission, for the first caller.
    pub fn claim() -> Option<Self> {
        let first = CLAIMED.compare_exchange(false, true, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        first.then_some(Self { _private: () })
    }

    /// The state of the shift keys in the BIOS data area; `None` if there is no BIOS.
    pub fn keyboard_flags(&self) -> Option<u8> {
        ram::keyboard_flags()
    }

    /// The hardware domain's access to a frame that is not memory of a domain.
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
