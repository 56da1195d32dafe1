//! Calls the other CPUs by the interrupt that requests TLB flushes. Its handler also checks for a
//! rendezvous.

use crate::addr::CpuId;
use crate::{apic, per_cpu, vectors};

/// The time in which all CPUs have to be present, in nanoseconds. Paravane's own work with
/// interrupts off takes about a millisecond at most.
pub(super) const PATIENCE: u64 = 30_000_000;

/// Interrupts another CPU.
pub(super) fn interrupt(cpu: CpuId) {
    apic::send(per_cpu::apic_id(cpu), vectors::FLUSH);
}

/// One turn of a loop that waits.
pub(super) fn relax() {
    core::hint::spin_loop();
}
