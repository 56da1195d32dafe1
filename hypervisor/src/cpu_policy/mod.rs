//! The view of the processor that guests get. The kernel's CPUID is emulated according to the
//! domain's policy. User mode executes CPUID natively and may see more, which operating systems
//! must expect on this interface.
//!
//! A feature is shown if it works for a guest, and hidden otherwise. A vCPU's answers do not change
//! while it runs.
//!
//! The policies (`policy`) are those of the processor and the host (`system`), the maximum for
//! guests (`leaves`), and one per domain, which the tools set within that maximum (`derive`).

mod derive;
pub mod evidence;
mod feature_set;
pub mod features;
mod hypervisor;
mod leaves;
pub mod msr;
mod policy;
pub mod registers;
mod states;
mod system;

pub(crate) use derive::Excess;
pub(crate) use feature_set::{WORDS, feature_set};
pub(crate) use policy::{MAX_LEAVES, Policy};
pub(crate) use system::{init, system};

use alloc::sync::Arc;

use abi::arch_x86_64::CpuidLeaf;
use abi::errno::Errno;
use machine::context::{Active, GuestContext};
use machine::cpu;
use machine::integers::low_u32;

use crate::domain::{Domain, Vcpu, VcpuId};

/// The values, besides the domain's policy, on which CPUID depends.
#[derive(Clone, Copy, Debug)]
struct View {
    /// The vCPU's number.
    vcpu: VcpuId,
    /// The extended states that the guest has enabled.
    xcr0: u64,
    invariant_tsc: bool,
    tsc_kilohertz: u32,
    /// Physical address width of the machine.
    address_bits: u32,
}

/// CPUID as a vCPU sees it: EAX, EBX, ECX, EDX.
pub(crate) fn cpuid(domain: &Domain, vcpu: &Arc<Vcpu>, cpu: &Active, leaf: u32, subleaf: u32) -> [u32; 4] {
    let features = cpu::features();
    let view = View {
        vcpu: vcpu.id(),
        xcr0: cpu.xcr0(),
        invariant_tsc: features.invariant_tsc,
        // Counters below 4 THz fit.
        tsc_kilohertz: low_u32(machine::time::scale().frequency() / 1000),
        address_bits: features.physical_bits,
    };
    answer(&view, &domain.cpu_policy(), leaf, subleaf)
}

/// CPUID of one leaf and subleaf.
fn answer(view: &View, policy: &Policy, leaf: u32, subleaf: u32) -> [u32; 4] {
    let [eax, ebx, ecx, edx] = policy.leaf(leaf, subleaf);
    match leaf {
        0x4000_0000..=0x4fff_ffff => hypervisor::leaf(view, leaf, subleaf),
        1 => {
            // The APIC id is twice the vCPU number.
            let apic = view.vcpu.get() << 1 & 0xff;
            let switched_on = if ecx & features::XSAVE != 0 { features::OSXSAVE } else { 0 };
            [eax, ebx & 0x00ff_ffff | apic << 24, ecx | switched_on, edx]
        }
        policy::EXTENDED_STATES => states::leaf(policy, subleaf, view.xcr0),
        _ => [eax, ebx, ecx, edx],
    }
}

/// The extended states that the domain may enable.
pub(crate) fn extended_states(domain: &Domain) -> u64 {
    domain.cpu_policy().extended_states()
}

/// Returns `present` with the entries of `list` and the value of ARCH_CAPABILITIES applied, within
/// the maximum for guests.
///
/// # Errors
/// `ERANGE` with an entry that is invalid in a list, `EINVAL` with an entry that requires leaves
/// beyond the maximum.
pub(crate) fn changed(
    present: &Policy,
    list: &[CpuidLeaf],
    arch_capabilities: Option<u64>,
) -> Result<Policy, (Errno, Excess)> {
    let mut wanted = present.clone();
    wanted.arch_capabilities = arch_capabilities.unwrap_or(present.arch_capabilities);
    for entry in list {
        if !wanted.take_up(entry) {
            return Err((Errno::ERANGE, Excess { leaf: entry.leaf, subleaf: entry.subleaf }));
        }
    }
    derive::derive(&wanted, &system().maximum).map_err(|excess| (Errno::EINVAL, excess))
}

/// CR4 as a guest sees it: the bits that it has set, and PAE, MCE, OSFXSR and OSXMMEXCPT, which are
/// always set.
pub(crate) const fn control4(context: &GuestContext) -> u64 {
    registers::CONTROL4_FIXED | context.control4()
}

/// The bits of `value` that a domain can set in CR4: TSD, DE, FSGSBASE and OSXSAVE, each if the
/// domain's CPUID has the feature. TSD and FSGSBASE are in the processor's CR4 while the vCPU runs.
/// DE enables I/O breakpoints and disables the aliases DR4 and DR5. OSXSAVE enables XSETBV. All
/// other bits are ignored.
pub(crate) fn control4_choice(domain: &Domain, value: u64) -> u64 {
    let policy = domain.cpu_policy();
    let [_, _, ecx, edx] = policy.leaf(1, 0);
    let [_, structured, ..] = policy.leaf(policy::STRUCTURED, 0);
    let choice = [
        (edx & features::TSC, 1 << 2),
        (edx & features::DEBUG_EXTENSIONS, CONTROL4_DEBUG_EXTENSIONS),
        (structured & features::FSGSBASE, 1 << 16),
        (ecx & features::XSAVE, CONTROL4_OSXSAVE),
    ];
    choice.into_iter().filter(|(told, bit)| *told != 0 && value & bit != 0).map(|(_, bit)| bit).sum()
}

/// CR4: debug extensions.
pub(crate) const CONTROL4_DEBUG_EXTENSIONS: u64 = 1 << 3;
/// CR4: the operating system uses XSAVE.
pub(crate) const CONTROL4_OSXSAVE: u64 = 1 << 18;

/// The processor's vendor, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vendor {
    Intel,
    /// AMD, and Hygon, which does not differ here.
    Amd,
    Other,
}

impl Vendor {
    /// The vendor according to leaf 0.
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
