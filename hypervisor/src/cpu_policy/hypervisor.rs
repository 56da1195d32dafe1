//! The leaves that identify the hypervisor to a guest (`arch-x86/cpuid.h`).

use abi::cpuid::{feature, leaf, signature};

use super::View;

/// Number of the last leaf, relative to the first.
const LAST: u32 = 5;
/// 4.17.
const VERSION: u32 = 4 << 16 | 17;
/// First MSR of the hypervisor.
pub(super) const MSR_BASE: u32 = 0x4000_0000;
/// TSC flags: the TSC is reliable.
const TSC_RELIABLE: u32 = 1 << 1;
/// TSC mode: the TSC is never emulated.
const TSC_NATIVE: u32 = 2;

pub(super) fn leaf(view: &View, number: u32, subleaf: u32) -> [u32; 4] {
    match (number - leaf::FIRST, subleaf) {
        (0, _) => [leaf::FIRST + LAST, signature::EBX, signature::ECX, signature::EDX],
        (1, _) => [VERSION, 0, 0, 0],
        (2, _) => [1, MSR_BASE, feature::MMU_PT_UPDATE_PRESERVE_AD, 0],
        (3, 0) => {
            let reliable = if view.invariant_tsc { TSC_RELIABLE } else { 0 };
            [reliable, TSC_NATIVE, view.tsc_kilohertz, 0]
        }
        (3, 1) => {
            let scale = machine::time::Scale::of_frequency(u64::from(view.tsc_kilohertz.max(1)) * 1000);
            // The shift is a signed number.
            [0, 0, scale.mul, i32::from(scale.shift).cast_unsigned()]
        }
        (3, 2) => [view.tsc_kilohertz, 0, 0, 0],
        (5, 0) => [0, view.address_bits, 0, 0],
        _ => [0; 4],
    }
}
