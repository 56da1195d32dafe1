#![expect(unsafe_code, reason = "reaches this CPU's own page")]
//! Interrupts of Paravane's own: acknowledged at once, recorded in this CPU's pending set, looked at by the hypervisor's loop.
//! They arrive only while a guest runs, the CPU idles, or in an interrupt window, so no lock is held here.

use core::sync::atomic::Ordering;

use super::{apic, console, cpu, cpu_info};
use crate::cpu::Pending;
use crate::hardware::vector;

/// This CPU's timer.
pub(crate) const TIMER: u8 = 0xf0;
/// Another CPU wants this one to look around.
pub(crate) const KICK: u8 = 0xf1;
/// Another CPU waits for a flush.
pub(crate) const FLUSH: u8 = 0xf2;
/// The serial line.
pub(crate) const SERIAL: u8 = 0xf3;
/// The local APIC has seen an error.
pub(crate) const APIC_ERROR: u8 = 0xfe;
/// The local APIC has changed its mind; not to be acknowledged.
pub(crate) const SPURIOUS: u8 = 0xff;

/// Acknowledges an interrupt and records it.
pub(crate) fn host_interrupt(vector: u8) {
    let is_device = vector::arrived(cpu::current(), vector);
    if vector != SPURIOUS {
        apic::acknowledge();
    }
    if is_device {
        return record(Pending::DEVICE);
    }
    let event = match vector {
        TIMER => Pending::TIMER,
        KICK => Pending::KICK,
        FLUSH => return crate::tlb::serve(),
        SERIAL if console::service() => Pending::SERIAL,
        SERIAL | SPURIOUS => return,
        APIC_ERROR => return log::warn!("local APIC error {:#x}", apic::error_status()),
        vector => return log::warn!("unexpected interrupt {vector:#x}"),
    };
    record(event);
}

/// Adds to this CPU's pending set.
pub(crate) fn record(event: Pending) {
    // SAFETY: `current` is this CPU's page, mapped as long as the CPU runs; the field is atomic.
    unsafe { (*cpu_info::current()).pending.fetch_or(event.bits(), Ordering::Relaxed) };
}

/// This CPU's pending set, emptied.
#[inline]
pub(crate) fn take() -> Pending {
    if !any() {
        return Pending::empty();
    }
    // SAFETY: as in `record`.
    Pending::from_bits_retain(unsafe { (*cpu_info::current()).pending.swap(0, Ordering::Relaxed) })
}

/// Whether this CPU's pending set has members.
#[inline]
pub(crate) fn any() -> bool {
    // SAFETY: as in `record`.
    unsafe { (*cpu_info::current()).pending.load(Ordering::Relaxed) != 0 }
}
