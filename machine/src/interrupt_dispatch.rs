//! Dispatch of interrupts. Each is acknowledged immediately and recorded in this CPU's pending set,
//! which the hypervisor's loop takes.
//!
//! Interrupts arrive only while a guest runs, the CPU idles, or in an interrupt window, so no lock
//! is held here.

use crate::console::backend as console;
use crate::interrupts::vector_table;
use crate::per_cpu::{self, Pending};
use crate::vectors::{APIC_ERROR, FLUSH, KICK, SERIAL, SPURIOUS, TIMER};
use crate::{apic, tlb};

/// Acknowledges an interrupt and records it.
pub(crate) fn host_interrupt(vector: u8) {
    let is_device = vector_table::arrived(per_cpu::current(), vector);
    if vector != SPURIOUS {
        apic::acknowledge();
    }
    if is_device {
        return per_cpu::record(Pending::DEVICE);
    }
    let event = match vector {
        TIMER => Pending::TIMER,
        KICK => Pending::KICK,
        FLUSH => return tlb::serve(),
        SERIAL if console::service() => Pending::SERIAL,
        SERIAL | SPURIOUS => return,
        APIC_ERROR => return log::warn!("local APIC error {:#x}", apic::error_status()),
        vector => return log::warn!("unexpected interrupt {vector:#x}"),
    };
    per_cpu::record(event);
}
