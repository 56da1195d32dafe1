//! Which model-specific registers a guest's kernel may read and write, and what it finds there. All others fault.

use abi::arch_x86_64::MsrEntry;
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::context::Active;
use machine::cpu;

use super::Vendor;
use crate::domain::{Domain, Vcpu};

/// Numbers, by Intel's and AMD's manuals.
mod number {
    pub(super) const TSC: u32 = 0x10;
    pub(super) const PLATFORM_ID: u32 = 0x17;
    pub(super) const APIC_BASE: u32 = 0x1b;
    pub(super) const FEATURE_CONTROL: u32 = 0x3a;
    pub(super) const MICROCODE_REVISION: u32 = 0x8b;
    pub(super) const PLATFORM_INFO: u32 = 0xce;
    pub(super) const ARCH_CAPABILITIES: u32 = 0x10a;
    pub(super) const MISC_FEATURES: u32 = 0x140;
    pub(super) const MISC_ENABLE: u32 = 0x1a0;
    pub(super) const PAT: u32 = 0x277;
    pub(super) const PERF_CAPABILITIES: u32 = 0x345;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(super) const HARDWARE_CONFIGURATION: u32 = 0xc001_0015;
    /// Frequency and voltage control and status.
    pub(super) const FREQUENCY: [u32; 2] = [0xc001_0041, 0xc001_0042];
    /// Performance states: limit, control, status, and eight definitions.
    pub(super) const P_STATES: core::ops::RangeInclusive<u32> = 0xc001_0061..=0xc001_006b;
    pub(super) const DECODE_CONFIGURATION: u32 = 0xc001_1029;
}

/// The local APIC's usual address, and that it is enabled.
const APIC_BASE: u64 = 0xfee0_0000 | 1 << 11;
const APIC_BASE_BOOT_CPU: u64 = 1 << 8;
/// SYSCALL, long mode enabled and active, no-execute.
const EFER: u64 = 1 << 0 | 1 << 8 | 1 << 10;
const EFER_NO_EXECUTE: u64 = 1 << 11;
/// The page attributes of the interface.
const PAT: u64 = 0x0000_0501_0007_0406;
/// Locked, with nothing switched on.
const FEATURE_CONTROL: u64 = 1;
/// Fast strings; no branch trace, no precise sampling, no task priority messages.
const MISC_ENABLE: u64 = 1 << 0 | 1 << 11 | 1 << 12 | 1 << 23;
/// The TSC counts at the frequency of performance state 0.
const CONFIGURATION_TSC: u64 = 1 << 24;
/// LFENCE waits for everything before it.
const DECODE_LFENCE: u64 = 1 << 1;

/// The MSRs of which the interface's lists tell. There is nothing in them that a guest could have.
pub const LISTED: [MsrEntry; 2] = [
    MsrEntry { index: number::PLATFORM_INFO, flags: 0, value: 0 },
    MsrEntry { index: number::ARCH_CAPABILITIES, flags: 0, value: 0 },
];

/// Judges an entry of a list that the tools set.
///
/// # Errors
/// `ERANGE` if no list has such an entry, `EINVAL` if it asks for what there is not.
pub fn judge(entry: &MsrEntry) -> Result<(), Errno> {
    let listed = LISTED.iter().find(|listed| listed.index == entry.index).ok_or(Errno::ERANGE)?;
    if entry.flags != 0 || entry.value != listed.value { Err(Errno::EINVAL) } else { Ok(()) }
}

fn vendor() -> Vendor {
    Vendor::of(cpu::cpuid(0, 0))
}

/// What the kernel reads from MSR `number`; `None` if that faults.
pub fn read(cpu: &Active, _: &Arc<Domain>, vcpu: &Arc<Vcpu>, number: u32) -> Option<u64> {
    Some(match number {
        number::FS_BASE => cpu.live_segment_bases().0,
        number::GS_BASE => cpu.live_segment_bases().1,
        number::KERNEL_GS_BASE => cpu.live_user_gs_base(),
        number::APIC_BASE => APIC_BASE | if vcpu.id().get() == 0 { APIC_BASE_BOOT_CPU } else { 0 },
        number::TSC => machine::time::tsc(),
        _ => return constant(number, vendor(), cpu::features().no_execute),
    })
}

/// MSRs that always read the same.
fn constant(number: u32, vendor: Vendor, no_execute: bool) -> Option<u64> {
    match (number, vendor) {
        (number::EFER, _) => Some(EFER | if no_execute { EFER_NO_EXECUTE } else { 0 }),
        (number::PAT, _) => Some(PAT),
        (number::MISC_ENABLE, Vendor::Intel) => Some(MISC_ENABLE),
        (number::FEATURE_CONTROL, Vendor::Intel) => Some(FEATURE_CONTROL),
        (number::MICROCODE_REVISION, Vendor::Intel | Vendor::Amd) => Some(0),
        (
            number::PLATFORM_ID | number::PLATFORM_INFO | number::MISC_FEATURES | number::PERF_CAPABILITIES,
            Vendor::Intel,
        ) => Some(0),
        (number::HARDWARE_CONFIGURATION, Vendor::Amd) => Some(CONFIGURATION_TSC),
        (number::DECODE_CONFIGURATION, Vendor::Amd) => Some(DECODE_LFENCE),
        (number, Vendor::Amd) if number::FREQUENCY.contains(&number) || number::P_STATES.contains(&number) => Some(0),
        _ => None,
    }
}

/// Writes MSR `number` for the kernel; `false` if that faults.
pub fn write(cpu: &mut Active, _: &Arc<Domain>, _: &Arc<Vcpu>, number: u32, value: u64) -> bool {
    match number {
        number::FS_BASE => cpu.set_fs_base(value),
        number::GS_BASE => cpu.set_kernel_gs_base(value),
        number::KERNEL_GS_BASE => cpu.set_user_gs_base(value),
        // Zero asks for the revision to be read anew.
        number::MICROCODE_REVISION => value == 0 && vendor() == Vendor::Intel,
        // Whatever a guest wants of these, it has already, or goes without.
        number::DECODE_CONFIGURATION => vendor() == Vendor::Amd,
        number::MISC_ENABLE => vendor() == Vendor::Intel,
        // What would change nothing is no harm.
        number::EFER | number::PAT | number::MISC_FEATURES => {
            constant(number, vendor(), cpu::features().no_execute) == Some(value)
        }
        _ => false,
    }
}
