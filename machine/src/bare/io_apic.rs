#![expect(unsafe_code, reason = "device registers in memory")]
//! I/O APICs: everything masked, save the interrupts that Paravane itself uses. The old controllers are silenced.

use arrayvec::ArrayVec;

use super::registers::port_write8;
use crate::boot::acpi::Acpi;
use crate::sync::{Level, Once, SpinLock};

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

struct Controller {
    base: u64,
    first_gsi: u32,
    inputs: u32,
}

static CONTROLLERS: Once<SpinLock<ArrayVec<Controller, 16>>> = Once::new();

impl Controller {
    fn read(&self, register: u32) -> u32 {
        self.select(register);
        // SAFETY: the window register of a controller whose page is mapped for ever.
        unsafe { ((self.base + 0x10) as *const u32).read_volatile() }
    }

    fn write(&mut self, register: u32, value: u32) {
        self.select(register);
        // SAFETY: as in `read`; redirection entries only decide about interrupts.
        unsafe { ((self.base + 0x10) as *mut u32).write_volatile(value) };
    }

    fn select(&self, register: u32) {
        // SAFETY: the index register of a controller whose page is mapped for ever; callers hold the lock.
        unsafe { (self.base as *mut u32).write_volatile(register) };
    }
}

/// Remaps the old controllers' vectors out of the way of exceptions, and masks them. To be done while the local APIC
/// still listens to them, so that a request that they have raised is taken back.
pub(crate) fn silence_old_controllers() {
    for (port, value) in [
        (0x20, 0x11),
        (0xa0, 0x11),
        (0x21, 0x20),
        (0xa1, 0x28),
        (0x21, 4),
        (0xa1, 2),
        (0x21, 1),
        (0xa1, 1),
        (0x21, 0xff),
        (0xa1, 0xff),
    ] {
        port_write8(port, value);
    }
}

/// Masks everything. `map` maps a controller's page and gives its address.
pub(crate) fn init(acpi: &Acpi, mut map: impl FnMut(u64) -> u64) {
    let mut controllers = ArrayVec::new();
    for found in &acpi.io_apics {
        let mut controller = Controller { base: map(found.address), first_gsi: found.first_gsi, inputs: 0 };
        controller.inputs = (controller.read(VERSION) >> 16 & 0xff) + 1;
        for input in 0..controller.inputs {
            controller.write(REDIRECTION + input * 2, MASKED);
        }
        controllers.push(controller);
    }
    CONTROLLERS.set(SpinLock::new(Level::Serial, controllers));
}

/// Sends an ISA interrupt to the CPU with local APIC number `target`; `false` if there is no controller for it.
pub(crate) fn route_isa(acpi: &Acpi, irq: u8, vector: u8, target: u32) -> bool {
    let found = acpi.overrides.iter().find(|entry| entry.irq == irq);
    let (gsi, flags) = match found {
        Some(entry) => {
            let level = if entry.level { LEVEL } else { 0 };
            (entry.gsi, level | if entry.active_low { ACTIVE_LOW } else { 0 })
        }
        None => (u32::from(irq), 0),
    };
    let mut controllers = CONTROLLERS.get().lock();
    let serves = |controller: &&mut Controller| gsi.wrapping_sub(controller.first_gsi) < controller.inputs;
    let Some(controller) = controllers.iter_mut().find(serves) else { return false };
    let entry = REDIRECTION + (gsi - controller.first_gsi) * 2;
    controller.write(entry + 1, target << 24);
    controller.write(entry, flags | u32::from(vector));
    true
}
