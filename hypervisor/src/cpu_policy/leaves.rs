//! The maximum policy: the processor's leaves restricted to the bits that a guest may see, with the
//! guest view of transient execution.

use machine::cpu::Features;
use machine::defences::GuestView;

use super::features::*;
use super::policy::{EXTENDED_STATES, FIRST_EXTENDED, LAST_BASIC, LAST_EXTENDED, Policy, Registers, STRUCTURED};
use super::{Vendor, states};

/// The last extended leaf on processors of vendors other than AMD.
const LAST_EXTENDED_INTEL: u32 = 0x8000_0008;

/// `value`, without the bits of `needing` unless `there`.
const fn without(value: u32, needing: u32, there: bool) -> u32 {
    if there { value } else { value & !needing }
}

/// `value`, with the bits of `decided` as in `told`.
const fn told(value: u32, decided: u32, told: u32) -> u32 {
    value & !decided | told & decided
}

/// The policy of guests that have all features of a processor with the policy `host` and these
/// `features` in use, as far as the defences allow.
pub(super) fn available(host: &Policy, features: &Features, view: &GuestView) -> Policy {
    let vendor = Vendor::of(host.leaf(0, 0));
    let last_basic = host.leaf(0, 0)[0].min(LAST_BASIC);
    let last_extended = match (vendor, host.leaf(FIRST_EXTENDED, 0)[0]) {
        // The leaf has what older processors do not tell.
        (Vendor::Amd, _) if view.leaf_e21_eax != 0 => LAST_EXTENDED,
        (Vendor::Amd, last) => last.min(LAST_EXTENDED),
        (_, last) => last.min(LAST_EXTENDED_INTEL),
    };
    let mut policy = host.clone();
    policy.retain(|leaf, _| {
        matches!(leaf, 0 | 1 | 2 | 4 | 7 | EXTENDED_STATES)
            || matches!(leaf, FIRST_EXTENDED..=0x8000_0008 | 0x8000_0019 | 0x8000_0021) && leaf <= last_extended
    });
    policy.update(0, 0, |[last, ..]| *last = last_basic);
    policy.update(1, 0, |registers| *registers = basic(features, *registers));
    // The caches are not shared, and the package has one core.
    for subleaf in 0..=5 {
        policy.update(4, subleaf, |[eax, ..]| *eax &= 0x3fff);
    }
    let there = if last_basic >= STRUCTURED { *view } else { GuestView::NOTHING };
    for subleaf in 0..=2 {
        policy.update(7, subleaf, |registers| *registers = structured(features, &there, subleaf, *registers));
    }
    policy.update(EXTENDED_STATES, 1, |[eax, ..]| *eax = without(*eax & XSAVE_EAX, 1, features.xsaveopt));
    policy.update(FIRST_EXTENDED, 0, |[last, ..]| *last = last_extended);
    policy.update(0x8000_0001, 0, |registers| *registers = extended(features, vendor, *registers));
    policy.update(0x8000_0007, 0, |[eax, ebx, ecx, edx]| {
        (*eax, *ebx, *ecx) = (0, 0, 0);
        *edx = without(*edx & INVARIANT_TSC, INVARIANT_TSC, features.invariant_tsc);
    });
    // Linear addresses have 48 bits, even if the processor supports more.
    policy.update(0x8000_0008, 0, |[eax, ebx, ecx, edx]| {
        *eax = *eax & 0xff | 48 << 8;
        (*ebx, *ecx, *edx) = (told(*ebx & ADDRESS_EBX, ADDRESS_EBX_DEFENCES, view.leaf_e8_ebx), 0, 0);
    });
    policy.update(LAST_EXTENDED, 0, |[eax, ebx, ecx, edx]| {
        let about_defences = if last_extended == LAST_EXTENDED { view.leaf_e21_eax } else { 0 };
        (*eax, *ebx, *ecx, *edx) = (told(*eax & EXTENDED_21_EAX, EXTENDED_21_EAX_DEFENCES, about_defences), 0, 0, 0);
    });
    if policy.leaf(STRUCTURED, 0)[3] & ARCH_CAPS != 0 {
        policy.arch_capabilities = view.arch_capabilities;
    }
    strip(&mut policy, if view.avx { features.xcr0 } else { features.xcr0 & states::LEGACY });
    policy
}

/// Adds what the tools may show to a guest that could be moved to another processor.
pub(super) fn add_pooled(policy: &mut Policy) {
    let vendor = Vendor::of(policy.leaf(0, 0));
    if vendor == Vendor::Intel && policy.limits()[0] >= STRUCTURED {
        policy.update(STRUCTURED, 0, |[.., edx]| *edx |= MD_CLEAR | ARCH_CAPS);
        policy.arch_capabilities |= POOLED_CAPABILITIES;
    }
}

/// Removes the features that require other extended states than `states` or another feature, and
/// describes only these states.
pub(super) fn strip(policy: &mut Policy, states: u64) {
    let (avx, avx512) = (states & states::AVX != 0, states & states::AVX512 == states::AVX512);
    policy.update(1, 0, |[_, _, ecx, _]| {
        *ecx = without(without(*ecx, BASIC_ECX_XSAVE, states != 0), BASIC_ECX_AVX, avx);
    });
    policy.update(7, 0, |[_, ebx, ecx, edx]| {
        *ebx = without(without(*ebx, STRUCTURED_EBX_AVX, avx), STRUCTURED_EBX_AVX512, avx512);
        *ecx = without(without(*ecx, STRUCTURED_ECX_AVX, avx), STRUCTURED_ECX_AVX512, avx512);
        *edx = without(*edx, STRUCTURED_EDX_AVX512, avx512);
        *edx = without(*edx, STRUCTURED_EDX_IBRSB, *edx & IBRSB != 0);
    });
    policy.update(7, 1, |[eax, ..]| {
        *eax = without(without(*eax, STRUCTURED_1_EAX_AVX, avx), STRUCTURED_1_EAX_AVX512, avx512);
    });
    policy.update(0x8000_0001, 0, |[_, _, ecx, _]| *ecx = without(*ecx, EXTENDED_ECX_AVX, avx));
    states::restrict(policy, states);
}

/// Leaf 1: version and features. Each vCPU is a package with one core.
fn basic(features: &Features, [eax, ebx, ecx, edx]: Registers) -> Registers {
    let edx = without(edx & BASIC_EDX, SYSENTER, features.sysenter);
    // The brand index and the CLFLUSH line size are kept.
    [eax, ebx & 0xffff | 1 << 16, ecx & BASIC_ECX | HYPERVISOR, edx]
}

/// Leaf 7.
fn structured(features: &Features, view: &GuestView, subleaf: u32, [eax, ebx, ecx, edx]: Registers) -> Registers {
    match subleaf {
        0 => {
            let edx = told(edx & STRUCTURED_EDX, STRUCTURED_EDX_DEFENCES, view.leaf_7_edx);
            let ebx = without(ebx & STRUCTURED_EBX, FSGSBASE, features.fsgsbase);
            [eax.min(1), ebx, ecx & STRUCTURED_ECX, edx]
        }
        1 => [eax & STRUCTURED_1_EAX, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Leaf 0x80000001.
fn extended(features: &Features, vendor: Vendor, [eax, ebx, ecx, edx]: Registers) -> Registers {
    let repeated = if vendor == Vendor::Amd { edx & EXTENDED_EDX_REPEATED } else { 0 };
    let no_execute = without(edx & EXTENDED_EDX, NO_EXECUTE, features.no_execute);
    // Some processors report SYSCALL only in 64-bit mode, which is the only mode of guest kernels.
    [eax, ebx, ecx & EXTENDED_ECX, no_execute | repeated | SYSCALL]
}
