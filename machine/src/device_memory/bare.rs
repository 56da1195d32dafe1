#![expect(unsafe_code, reason = "device registers in memory")]
//! A window of Paravane's address space for pages of devices that turn up while the machine runs.
//! What has been mapped stays so.

use arrayvec::ArrayVec;

use super::MAX_DEVICE_PAGES;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::address_space::tables;
use crate::sync::{Level, SpinLock};

/// As many as one page table maps.
const PAGES: usize = MAX_DEVICE_PAGES;

static MAPPED: SpinLock<ArrayVec<Mfn, PAGES>> = SpinLock::new(Level::DeviceWindow, ArrayVec::new_const());

/// The address of a page of a device's memory, uncached; `None` if the window is full.
pub(crate) fn map(frame: Mfn) -> Option<u64> {
    let mut mapped = MAPPED.lock();
    let index = match mapped.iter().position(|&known| known == frame) {
        Some(index) => index,
        None => {
            mapped.try_push(frame).ok()?;
            tables::set_device_page(mapped.len() - 1, frame);
            mapped.len() - 1
        }
    };
    Some(tables::DEVICE_WINDOW + (index * PAGE_SIZE) as u64)
}

/// Reads a register of a page that `map` gave.
pub(crate) fn read(address: u64) -> u32 {
    assert!(in_window(address), "{address:#x} is outside the window");
    // SAFETY: the window's pages stay mapped once they are; one that is not faults into the panic
    // path.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes a register of a page that `map` gave.
pub(crate) fn write(address: u64, value: u32) {
    assert!(in_window(address), "{address:#x} is outside the window");
    // SAFETY: as in `read`, and the window shows devices only (`Hardware::device_frame`).
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn in_window(address: u64) -> bool {
    let end = tables::DEVICE_WINDOW + (PAGES * PAGE_SIZE) as u64;
    address.is_multiple_of(4) && (tables::DEVICE_WINDOW..end).contains(&address)
}
