//! I/O ports. Those of devices that Paravane uses itself read as ports without a device.

use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicU32, Ordering};

use super::Hardware;
use crate::console::backend as console;
use crate::ports;
use crate::ports::pci;

pub use crate::ports::Width;

/// Paravane's ports: the interrupt controllers with their edge/level registers, and the PIT with
/// its gate.
const OWN: [RangeInclusive<u16>; 4] = [0x20..=0x21, 0x40..=0x43, 0xa0..=0xa1, 0x4d0..=0x4d1];
/// Registers of a serial port.
const SERIAL_REGISTERS: u16 = 8;

/// The address register of PCI configuration space as written by the hardware domain.
static CONFIG_ADDRESS: AtomicU32 = AtomicU32::new(0);

fn touches(range: &RangeInclusive<u16>, port: u16, width: Width) -> bool {
    port <= *range.end() && u32::from(port) + u32::from(width.bytes()) > u32::from(*range.start())
}

fn is_own(port: u16, width: Width) -> bool {
    let serial = |base: u16| base..=base.saturating_add(SERIAL_REGISTERS - 1);
    console::serial_bases().any(|base| touches(&serial(base), port, width))
        || OWN.iter().any(|range| touches(range, port, width))
}

impl Hardware {
    /// Reads from a port.
    pub fn port_read(&self, port: u16, width: Width) -> u32 {
        match port {
            pci::ADDRESS if width == Width::Double => CONFIG_ADDRESS.load(Ordering::SeqCst),
            pci::DATA..=pci::DATA_END => {
                pci::cycle(CONFIG_ADDRESS.load(Ordering::SeqCst), |_| ports::read(port, width))
            }
            _ if is_own(port, width) => width.ones(),
            _ => ports::read(port, width),
        }
    }

    /// Writes to a port.
    pub fn port_write(&self, port: u16, width: Width, value: u32) {
        match port {
            pci::ADDRESS if width == Width::Double => CONFIG_ADDRESS.store(value, Ordering::SeqCst),
            pci::DATA..=pci::DATA_END => {
                pci::cycle(CONFIG_ADDRESS.load(Ordering::SeqCst), |_| ports::write(port, width, value));
            }
            _ if is_own(port, width) => {}
            _ => ports::write(port, width, value),
        }
    }
}
