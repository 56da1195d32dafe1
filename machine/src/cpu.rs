//! The physical CPUs: who and how many they are, what they can do, how they wait and wake each other.

use bitflags::bitflags;

use crate::counters::{Counter, count};

pub use crate::backend::cpu::{
    acpi_id, apic_id, current, features, idle, interrupt_window, kick, note_running, online, present, start_others,
    take_pending,
};

bitflags! {
    /// What has come in by interrupt since it was last asked.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Pending: u32 {
        /// The deadline of `time::set_deadline` has been reached.
        const TIMER = 1 << 0;
        /// Another CPU called `kick`.
        const KICK = 1 << 1;
        /// The serial line has input.
        const SERIAL = 1 << 2;
        /// Interrupts of the hardware domain's devices.
        const DEVICE = 1 << 3;
    }
}

/// What the processors can do. What is there is switched on at boot, save PCID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Features {
    pub no_execute: bool,
    pub gib_pages: bool,
    pub global_pages: bool,
    pub machine_check: bool,
    pub sysenter: bool,
    pub x2apic: bool,
    pub tsc_deadline: bool,
    pub invariant_tsc: bool,
    pub pcid: bool,
    pub invpcid: bool,
    pub fsgsbase: bool,
    pub smep: bool,
    pub smap: bool,
    pub umip: bool,
    pub xsaveopt: bool,
    /// Width of physical addresses.
    pub physical_bits: u32,
    /// Extended states that are enabled; zero without XSAVE.
    pub xcr0: u64,
    /// Bytes that XSAVE writes for all of them; 512 without XSAVE.
    pub xsave_size: u32,
}

/// Writes back and empties the caches of this CPU and those that it shares. This can take
/// milliseconds on a real machine, with interrupts off: only for who has devices.
pub fn write_back_caches() {
    count(Counter::CacheFlushes);
    crate::backend::cpu::write_back_caches();
}

/// What this processor answers to CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}
