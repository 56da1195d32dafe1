#![expect(unsafe_code, reason = "reads per-CPU pages, halts")]
//! The CPUs: which one this is, waking others, waiting.

use core::sync::atomic::{AtomicUsize, Ordering};

pub use super::panic::note_running;
use super::{apic, cpu_features, cpu_info, interrupts, layout, registers, smp, windows};
use crate::addr::{CpuId, CpuSet};
use crate::cpu::{Features, Pending};

static ONLINE: AtomicUsize = AtomicUsize::new(1);

/// The CPU that asks.
#[inline]
pub fn current() -> CpuId {
    // The windows lie side by side in the order of their CPUs. On the boot stack, which lies elsewhere, there is but one CPU.
    let number = cpu_info::window().wrapping_sub(layout::PER_CPU_BASE) / layout::PER_CPU_SIZE;
    u32::try_from(number).ok().and_then(CpuId::new).unwrap_or(CpuId::BOOT)
}

/// How many CPUs are running; they are numbered from zero.
pub fn online() -> usize {
    ONLINE.load(Ordering::Acquire)
}

/// The CPUs that are running.
pub(crate) fn online_set() -> CpuSet {
    CpuSet::from_bits(u64::MAX >> (64 - online()))
}

/// Counts one more CPU as running.
pub(crate) fn note_online() {
    ONLINE.fetch_add(1, Ordering::AcqRel);
}

/// How many CPUs there are to be, those included that are still to be started.
pub fn present() -> usize {
    super::start::other_cpus().len() + 1
}

/// The local APIC number of a CPU that has a window.
pub fn apic_id(cpu: CpuId) -> u32 {
    // SAFETY: windows are built at boot for all CPUs that can run, and the number changes only before its CPU runs.
    unsafe { (*windows::info(cpu)).apic_id }
}

/// The number that ACPI has for a CPU that has a window.
pub fn acpi_id(cpu: CpuId) -> Option<u32> {
    let (acpi, apic_id) = (super::start::acpi()?, apic_id(cpu));
    let mut both = acpi.cpus.iter().zip(&acpi.cpu_numbers);
    both.find(|(found, _)| **found == apic_id).map(|(_, &number)| number)
}

/// What the processors can do.
pub fn features() -> &'static Features {
    cpu_features::get()
}

/// Writes back and empties the caches of this CPU.
pub(crate) fn write_back_caches() {
    registers::wbinvd();
}

/// Starts the other CPUs; each runs `main`. Returns when all that answer are online.
pub fn start_others(main: fn() -> !) {
    smp::start_others(main);
}

/// Waits until something is pending. Interrupts are taken in here, in [`interrupt_window`] and
/// while a guest runs, and at no other time. No lock may be held.
pub fn idle() {
    if !interrupts::any() {
        // SAFETY: the interrupt table is loaded since this CPU came up, and the caller holds no lock.
        unsafe { registers::halt_for_interrupt() };
    }
}

/// Takes the interrupts that have come in, as [`idle`] does, without waiting for one. No lock may
/// be held.
pub fn interrupt_window() {
    // SAFETY: the interrupt table is loaded since this CPU came up, and the caller holds no lock.
    unsafe { registers::open_for_interrupts() };
}

/// Makes `Pending::KICK` pending on a CPU: it leaves its guest or `idle`.
pub fn kick(cpu: CpuId) {
    if cpu == current() {
        interrupts::record(Pending::KICK);
    } else if cpu.index() < online() {
        apic::send(apic_id(cpu), interrupts::KICK);
    }
}

/// What has come in on this CPU since the last call.
#[inline]
pub fn take_pending() -> Pending {
    interrupts::take()
}
