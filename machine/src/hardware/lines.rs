//! Interrupt lines: the inputs of the I/O APICs, by GSI. Lines that Paravane uses itself are
//! refused.

use super::Hardware;
use super::vector::Vector;
use crate::addr::MachineAddr;
use crate::interrupts::{self, Redirection};

pub use crate::interrupts::Wiring;

impl Hardware {
    /// The number of lines: one more than the highest GSI.
    pub fn line_count(&self) -> u32 {
        interrupts::line_count()
    }

    /// Whether the line exists and Paravane does not use it itself.
    pub fn has_line(&self, line: u32) -> bool {
        interrupts::is_free(line)
    }

    /// The trigger mode and polarity of a line according to the firmware's tables.
    pub fn default_wiring(&self, line: u32) -> Wiring {
        interrupts::default_wiring(line)
    }

    /// Connects a line to a vector, masked.
    pub fn connect_line(&self, line: u32, wiring: Wiring, vector: &Vector) {
        if self.has_line(line) {
            interrupts::connect(line, Redirection { wiring, vector: vector.first(), cpu: vector.cpu() });
        }
    }

    /// Masks or unmasks a line.
    pub fn mask_line(&self, line: u32, masked: bool) {
        if self.has_line(line) {
            interrupts::set_masked(line, masked);
        }
    }

    /// The GSI of the first line of the I/O APIC at a physical address.
    pub fn first_line(&self, base: MachineAddr) -> Option<u32> {
        interrupts::first_line(base)
    }

    /// Reads a register of the I/O APIC at a physical address; `None` if there is no I/O APIC.
    pub fn read_io_apic(&self, base: MachineAddr, register: u32) -> Option<u32> {
        interrupts::read_register(base, register)
    }
}
