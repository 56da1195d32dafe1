#![expect(unsafe_code, reason = "enables interrupts")]
//! Waiting for, and waking, other CPUs by interrupts.

use crate::addr::CpuId;
use crate::context::DomainDefences;
use crate::defences::{self, Domains, HistoryControl};
use crate::per_cpu::{self, Pending};
use crate::processor::registers;
use crate::start::smp;
use crate::{apic, boot, idle, vectors};

/// The number of CPUs that run or will run.
pub fn expected() -> usize {
    smp::expected()
}

/// The ACPI processor UID of a CPU that has a window.
pub fn acpi_id(cpu: CpuId) -> Option<u32> {
    let (acpi, apic_id) = (boot::acpi()?, per_cpu::apic_id(cpu));
    let mut both = acpi.cpus.iter().zip(&acpi.cpu_numbers);
    both.find(|(found, _)| **found == apic_id).map(|(_, &number)| number)
}

/// The defences of a domain.
pub fn domain_defences(initial_domain: bool) -> DomainDefences {
    let plan = &defences::report().plan;
    let of = |domains: Domains| if initial_domain { domains.dom0 } else { domains.domu };
    DomainDefences {
        split_roots: of(plan.split_roots),
        barrier_at_entry: of(plan.barrier_at_entry),
        clear_history: match plan.history {
            HistoryControl::Cleared(_, domains) => of(domains),
            _ => false,
        },
        refuses_absent_entries: of(plan.refuse_entries),
    }
}

/// Starts the other CPUs, which run `main`. Returns when all that respond are online.
pub fn start_others(main: fn() -> !) {
    smp::start_others(main);
}

/// Waits until something is pending. Interrupts are accepted here, in [`interrupt_window`] and
/// while a guest runs, and at no other time. No lock may be held.
pub fn idle() {
    if !per_cpu::any() {
        // SAFETY: the interrupt table has been loaded since this CPU started, and the caller holds
        // no lock.
        unsafe { idle::halt_for_interrupt() };
    }
}

/// Accepts pending interrupts, as [`idle`] does, without waiting for one. No lock may be held.
pub fn interrupt_window() {
    // SAFETY: the interrupt table has been loaded since this CPU started, and the caller holds no
    // lock.
    unsafe { registers::open_for_interrupts() };
}

/// Makes `Pending::KICK` pending on a CPU: it leaves its guest or `idle`.
pub fn kick(cpu: CpuId) {
    if cpu == per_cpu::current() {
        per_cpu::record(Pending::KICK);
    } else if cpu.index() < per_cpu::online() {
        apic::send(per_cpu::apic_id(cpu), vectors::KICK);
    }
}

/// Returns and clears the pending set of this CPU.
#[inline]
pub fn take_pending() -> Pending {
    per_cpu::take()
}
