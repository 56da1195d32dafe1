#![expect(unsafe_code, reason = "device registers in memory")]
//! A window of Paravane's address space for device pages that appear at run time. Mappings are
//! never removed.

use arrayvec::ArrayVec;

use super::MAX_DEVICE_PAGES;
use crate::addr::{Mfn, PAGE_SIZE};
use crate::address_space::tables;
use crate::sync::{Level, SpinLock};

/// The number of pages that one page table maps.
const PAGES: usize = MAX_DEVICE_PAGES;

static MAPPED: SpinLock<ArrayVec<Mfn, PAGES>> = SpinLock::new(Level::DeviceWindow, ArrayVec::new_const());

/// Maps a page of device memory uncached and returns its address; `None` if the window is full.
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

/// Reads a register of a page mapped by `map`.
pub(crate) fn read(address: u64) -> u32 {
    assert!(in_window(address), "{address:#x} is outside the window");
    // SAFETY: pages of the window stay mapped. An access to an unmapped one faults, which ends in a
    // panic.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes a register of a page mapped by `map`.
pub(crate) fn write(address: u64, value: u32) {
    assert!(in_window(address), "{address:#x} is outside the window");
    // SAFETY: as in `read`; in addition the window maps only device memory
    // (`Hardware::device_frame`).
    unsafe { (address as *mut u32).write_volatile(value) };
}

fn in_window(address: u64) -> bool {
    let end = tables::DEVICE_WINDOW + (PAGES * PAGE_SIZE) as u64;
    address.is_multiple_of(4) && (tables::DEVICE_WINDOW..end).contains(&address)
}
