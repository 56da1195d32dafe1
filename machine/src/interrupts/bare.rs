#![expect(unsafe_code, reason = "device registers in memory")]
//! I/O APICs. All lines are masked except those that Paravane itself uses. The legacy interrupt
//! controllers are masked completely.

use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;

use super::{Redirection, Trigger, Wiring};
use crate::addr::{CpuId, MachineAddr};
use crate::boot::acpi::{Acpi, MAX_IO_APICS};
use crate::boot::options::SERIAL_PORTS;
use crate::processor::registers::port_write8;
use crate::sync::{Level, Once, SpinLock};
use crate::{boot, per_cpu};

const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

struct Controller {
    base: u64,
    physical: u64,
    first_gsi: u32,
    inputs: u32,
}

/// The lines that Paravane uses itself: those of serial ports.
static OWN_LINES: [AtomicU32; SERIAL_PORTS] = [const { AtomicU32::new(u32::MAX) }; SERIAL_PORTS];
static CONTROLLERS: Once<SpinLock<ArrayVec<Controller, MAX_IO_APICS>>> = Once::new();

impl Controller {
    fn read(&self, register: u32) -> u32 {
        self.select(register);
        // SAFETY: the window register of a controller whose page stays mapped.
        unsafe { ((self.base + 0x10) as *const u32).read_volatile() }
    }

    fn write(&mut self, register: u32, value: u32) {
        self.select(register);
        // SAFETY: as in `read`; redirection entries affect only interrupts.
        unsafe { ((self.base + 0x10) as *mut u32).write_volatile(value) };
    }

    fn select(&self, register: u32) {
        // SAFETY: the index register of a controller whose page stays mapped; callers hold the
        // lock.
        unsafe { (self.base as *mut u32).write_volatile(register) };
    }
}

/// Remaps the legacy controllers' vectors above the exceptions, and masks them. Must be called
/// while the local APIC still accepts their interrupts, so that a pending request is withdrawn.
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

/// Masks all lines. `map` maps a controller's page and returns its address.
pub(crate) fn init(acpi: &Acpi, mut map: impl FnMut(u64) -> u64) {
    let mut controllers = ArrayVec::new();
    for found in &acpi.io_apics {
        let mut controller =
            Controller { base: map(found.address), physical: found.address, first_gsi: found.first_gsi, inputs: 0 };
        controller.inputs = (controller.read(VERSION) >> 16 & 0xff) + 1;
        for input in 0..controller.inputs {
            controller.write(REDIRECTION + input * 2, MASKED);
        }
        controllers.push(controller);
    }
    CONTROLLERS.set(SpinLock::new(Level::IoApic, controllers));
}

/// Runs `act` with the controller of a line and the register of the line's entry.
fn with_line<R>(line: u32, act: impl FnOnce(&mut Controller, u32) -> R) -> Option<R> {
    let mut controllers = CONTROLLERS.try_get()?.lock();
    let serves = |controller: &&mut Controller| line.wrapping_sub(controller.first_gsi) < controller.inputs;
    let controller = controllers.iter_mut().find(serves)?;
    let register = REDIRECTION + (line - controller.first_gsi) * 2;
    Some(act(controller, register))
}

/// The line of an ISA interrupt, and its wiring.
fn isa_line(acpi: &Acpi, irq: u8) -> (u32, Wiring) {
    match acpi.overrides.iter().find(|entry| entry.irq == irq) {
        Some(entry) => {
            let trigger = if entry.level { Trigger::Level } else { Trigger::Edge };
            (entry.gsi, Wiring { trigger, active_low: entry.active_low })
        }
        None => (irq.into(), Wiring { trigger: Trigger::Edge, active_low: false }),
    }
}

/// Routes an ISA interrupt to a vector of Paravane; returns `false` if no controller has the line.
pub(crate) fn route_isa(acpi: &Acpi, irq: u8, vector: u8, cpu: CpuId) -> bool {
    let (line, wiring) = isa_line(acpi, irq);
    let found = with_line(line, |controller, register| {
        write_entry(controller, register, &Redirection { wiring, vector, cpu }, 0);
    });
    if found.is_some()
        && let Some(place) = OWN_LINES.iter().find(|own| own.load(Ordering::Relaxed) == u32::MAX)
    {
        place.store(line, Ordering::Relaxed);
    }
    found.is_some()
}

fn write_entry(controller: &mut Controller, register: u32, redirection: &Redirection, masked: u32) {
    let level = if redirection.wiring.trigger == Trigger::Level { LEVEL } else { 0 };
    let polarity = if redirection.wiring.active_low { ACTIVE_LOW } else { 0 };
    // Masked first, because the halves are written separately.
    controller.write(register, MASKED);
    controller.write(register + 1, per_cpu::apic_id(redirection.cpu) << 24);
    controller.write(register, level | polarity | masked | u32::from(redirection.vector));
}

/// One more than the highest GSI.
pub(crate) fn line_count() -> u32 {
    let controllers = CONTROLLERS.try_get().map(SpinLock::lock);
    let ends =
        controllers.iter().flat_map(|list| list.iter()).map(|controller| controller.first_gsi + controller.inputs);
    ends.max().unwrap_or(0)
}

/// Whether the line exists and Paravane does not use it.
pub(crate) fn is_free(line: u32) -> bool {
    OWN_LINES.iter().all(|own| own.load(Ordering::Relaxed) != line) && with_line(line, |_, _| ()).is_some()
}

/// The wiring of a line according to the firmware's tables: ISA interrupts by the rules of that bus
/// and the listed overrides, others by the rules of PCI.
pub(crate) fn default_wiring(line: u32) -> Wiring {
    let isa = boot::acpi().and_then(|acpi| (0..16).map(|irq| isa_line(acpi, irq)).find(|&(found, _)| found == line));
    match isa {
        Some((_, wiring)) => wiring,
        None => Wiring { trigger: Trigger::Level, active_low: true },
    }
}

/// Connects a line, masked.
pub(crate) fn connect(line: u32, redirection: Redirection) {
    with_line(line, |controller, register| write_entry(controller, register, &redirection, MASKED));
}

/// Masks or unmasks a line.
pub(crate) fn set_masked(line: u32, masked: bool) {
    with_line(line, |controller, register| {
        let entry = controller.read(register) & !MASKED;
        controller.write(register, entry | if masked { MASKED } else { 0 });
    });
}

/// The first line of the controller at a physical address.
pub(crate) fn first_line(base: MachineAddr) -> Option<u32> {
    let controllers = CONTROLLERS.try_get()?.lock();
    controllers.iter().find(|controller| controller.physical == base.get()).map(|controller| controller.first_gsi)
}

/// A register of the controller at a physical address.
pub(crate) fn read_register(base: MachineAddr, register: u32) -> Option<u32> {
    let controllers = CONTROLLERS.try_get()?.lock();
    let controller = controllers.iter().find(|controller| controller.physical == base.get())?;
    (register < REDIRECTION + controller.inputs * 2).then(|| controller.read(register))
}
