//! I/O ports by number and width.

use super::Width;
use crate::integers::{low_u8, low_u16};
use crate::processor::registers::{port_read8, port_read16, port_read32, port_write8, port_write16, port_write32};

/// Reads from a port.
pub(crate) fn read(port: u16, width: Width) -> u32 {
    match width {
        Width::Byte => port_read8(port).into(),
        Width::Word => port_read16(port).into(),
        Width::Double => port_read32(port),
    }
}

/// Writes the low part of a value to a port.
pub(crate) fn write(port: u16, width: Width, value: u32) {
    match width {
        Width::Byte => port_write8(port, low_u8(value.into())),
        Width::Word => port_write16(port, low_u16(value.into())),
        Width::Double => port_write32(port, value),
    }
}
