//! Simulated I/O ports: bytes that keep what was written last, all ones at first.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::hardware::ports::Width;

static PORTS: [AtomicU8; 1 << 16] = [const { AtomicU8::new(0xff) }; 1 << 16];

fn bytes(port: u16, width: Width) -> impl Iterator<Item = &'static AtomicU8> {
    PORTS.iter().skip(usize::from(port)).take(usize::from(width.bytes()))
}

/// Reads from a port.
pub fn read(port: u16, width: Width) -> u32 {
    let mut value = width.ones();
    for (at, byte) in bytes(port, width).enumerate() {
        value = value & !(0xff << (8 * at)) | u32::from(byte.load(Ordering::SeqCst)) << (8 * at);
    }
    value
}

/// Writes the low part of a value to a port.
pub fn write(port: u16, width: Width, value: u32) {
    for (at, byte) in bytes(port, width).enumerate() {
        byte.store((value >> (8 * at)) as u8, Ordering::SeqCst);
    }
}
