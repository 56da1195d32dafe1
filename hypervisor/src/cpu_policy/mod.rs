//! What a guest is told about the processor it runs on. The kernel asks through emulated instructions and gets the policy's answer;
//! its processes execute CPUID themselves and may see more, which an operating system has to live with on this interface.
//!
//! A feature is shown if it works for a guest, and hidden otherwise. What a vCPU is told does not change while it runs.

mod features;
mod hypervisor;
mod leaves;
pub mod msr;

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use machine::context::Active;
use machine::cpu::{self, Features};

use crate::domain::{Domain, Vcpu};

/// What the answers depend on.
#[derive(Clone, Copy, Debug)]
struct View {
    /// The vCPU's number.
    vcpu: u32,
    /// Extended states that the guest has enabled.
    xcr0: u64,
    features: Features,
    tsc_kilohertz: u32,
    /// Width of the addresses of the machine's memory.
    address_bits: u32,
}

/// CPUID as a vCPU sees it: EAX, EBX, ECX, EDX.
pub fn cpuid(_: &Arc<Domain>, vcpu: &Arc<Vcpu>, cpu: &Active, leaf: u32, subleaf: u32) -> [u32; 4] {
    let features = *cpu::features();
    let view = View {
        vcpu: vcpu.id().get(),
        xcr0: cpu.xcr0(),
        features,
        // Counters below 4 THz fit.
        tsc_kilohertz: (machine::time::scale().frequency() / 1000) as u32,
        address_bits: features.physical_bits,
    };
    answer(&view, cpu::cpuid, leaf, subleaf)
}

/// The answer to one question; `host` asks the processor itself.
fn answer(view: &View, host: impl Fn(u32, u32) -> [u32; 4], leaf: u32, subleaf: u32) -> [u32; 4] {
    match leaf {
        0x4000_0000..=0x4fff_ffff => hypervisor::leaf(view, leaf, subleaf),
        _ => leaves::leaf(view, &host, leaf, subleaf),
    }
}

/// CR4 as a guest sees it: PAE, MCE, OSFXSR and OSXMMEXCPT are always set, TSD, DE, FSGSBASE and OSXSAVE are its choice, where the
/// processor has them, and all others are clear. For now the choice shows in what is read back, in the names of debug registers 4
/// and 5, and nowhere else.
pub fn control4(vcpu: &Vcpu) -> u64 {
    CONTROL4_FIXED | vcpu.control4.load(Ordering::Relaxed)
}

/// Sets CR4. Bits that are no guest's choice are ignored.
pub fn set_control4(vcpu: &Vcpu, value: u64) {
    vcpu.control4.store(value & control4_choice(cpu::features()), Ordering::Relaxed);
}

const CONTROL4_FIXED: u64 = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 10;

fn control4_choice(features: &Features) -> u64 {
    let fsgsbase = if features.fsgsbase { 1 << 16 } else { 0 };
    let extended_states = if features.xcr0 != 0 { 1 << 18 } else { 0 };
    1 << 2 | 1 << 3 | fsgsbase | extended_states
}

/// Who made the processor, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vendor {
    Intel,
    /// AMD, and Hygon, which is the same here.
    Amd,
    Other,
}

impl Vendor {
    /// From leaf 0.
    const fn of([_, ebx, _, _]: [u32; 4]) -> Self {
        match &ebx.to_le_bytes() {
            b"Genu" => Self::Intel,
            b"Auth" | b"Hygo" => Self::Amd,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
