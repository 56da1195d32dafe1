//! Simulated I/O ports: bytes that store the last value written, initially all ones. The data port
//! of PCI configuration space has a separate register for each address.

use core::sync::atomic::{AtomicU8, Ordering};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Width;
use super::pci::{ADDRESS, DATA};

static PORTS: [AtomicU8; 1 << 16] = [const { AtomicU8::new(0xff) }; 1 << 16];
static CONFIG: Mutex<BTreeMap<u32, u32>> = Mutex::new(BTreeMap::new());

fn registers() -> MutexGuard<'static, BTreeMap<u32, u32>> {
    CONFIG.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes(port: u16, width: Width) -> impl Iterator<Item = &'static AtomicU8> {
    PORTS.iter().skip(usize::from(port)).take(usize::from(width.bytes()))
}

/// The register of configuration space at an address; for tests.
pub fn config(address: u32) -> u32 {
    registers().get(&address).copied().unwrap_or(u32::MAX)
}

/// Sets a register of configuration space; for tests.
pub fn set_config(address: u32, value: u32) {
    registers().insert(address, value);
}

/// Reads from a port.
pub(crate) fn read(port: u16, width: Width) -> u32 {
    if port & !3 == DATA {
        return config(read(ADDRESS, Width::Double)) >> (8 * (port & 3)) & width.ones();
    }
    let mut value = 0;
    for (at, byte) in bytes(port, width).enumerate() {
        value |= u32::from(byte.load(Ordering::SeqCst)) << (8 * at);
    }
    value
}

/// Writes the low part of a value to a port.
pub(crate) fn write(port: u16, width: Width, value: u32) {
    if port & !3 == DATA {
        let (address, shift) = (read(ADDRESS, Width::Double), 8 * (port & 3));
        let old = config(address);
        return set_config(address, old & !(width.ones() << shift) | (value & width.ones()) << shift);
    }
    for (at, byte) in bytes(port, width).enumerate() {
        byte.store((value >> (8 * at)) as u8, Ordering::SeqCst);
    }
}
