//! The processor: its features, control and debug registers, and privileged instructions, with one
//! wrapper each.
//!
//! All CPUs are assumed to be identical. Every feature in [`Features`] is enabled at boot, except
//! PCID.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
#[cfg(target_os = "none")]
pub(crate) mod debug_registers;
pub(crate) mod msr;
#[cfg(target_os = "none")]
pub(crate) mod registers;
#[cfg(target_os = "none")]
pub(crate) mod returns;

pub use backend::features;
#[cfg(target_os = "none")]
pub(crate) use backend::{detect, enable, forget_global_pages, have_changed, no_execute, smap};

use crate::counters::{Counter, count};

/// The processors' features.
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
    /// Size of the XSAVE image of all these states in bytes; 512 without XSAVE.
    pub xsave_size: u32,
}

/// Writes back and invalidates the caches of this CPU, including those that it shares. This can
/// take milliseconds on real hardware, with interrupts off, so only domains with devices may
/// request it.
pub fn write_back_caches() {
    count(Counter::CacheFlushes);
    backend::write_back_caches();
}

/// The result of CPUID on this processor: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}
