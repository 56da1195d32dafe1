//! The model-specific registers that a guest's kernel can read and write, and their values.
//! Accesses to all others fault.

use abi::arch_x86_64::MsrEntry;
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::context::Active;
use machine::cpu;

use super::evidence::Evidence::{self, Guest, Host};
use super::{Policy, Vendor, features, policy, registers};
use crate::domain::{Domain, Vcpu, VcpuId};

/// MSRs that are used by name. The numbers are from Intel's and AMD's manuals.
pub(crate) use number::SPEC_CTRL;

mod number {
    pub(crate) const SPEC_CTRL: u32 = 0x48;
    pub(super) const PLATFORM_INFO: u32 = 0xce;
    pub(super) const ARCH_CAPABILITIES: u32 = 0x10a;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
}

/// The value that a read returns.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// This constant.
    Constant(u64),
    /// EFER with SCE, LME, LMA and, if the processor has it, NXE.
    Efer,
    /// The local APIC's default address, the enable bit, and the BSP bit for vCPU 0.
    ApicBase,
    /// The time-stamp counter.
    Counter,
    /// The live FS base.
    FsBase,
    /// The live GS base of the kernel.
    GsBase,
    /// The GS base of user mode.
    UserGsBase,
    /// The guest's own value, if its policy has one of the controls in it.
    SpeculationControl,
    /// The policy's value, if it has the register.
    Capabilities,
    /// None: #GP.
    Nothing,
}

/// The effect of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write {
    /// #GP.
    Refused,
    /// #GP unless the value is unchanged.
    Same,
    /// None. A guest either already has the behaviour that it would set, or has to do without it.
    Ignored,
    /// #GP unless the value is zero, which requests a new reading.
    Zero,
    /// Sets the base. #GP for an address that is not canonical.
    Base,
    /// Sets the controls that the policy has. #GP for other bits.
    Controls,
    /// Bit 0 discards branch predictions, if the policy has IBPB. #GP for other bits.
    Barrier,
}

/// The vendors whose processors have the MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// All.
    Any,
    /// Intel.
    Intel,
    /// AMD and Hygon.
    Amd,
}

/// One or more MSRs that a guest's kernel can access.
#[derive(Debug)]
pub struct Msr {
    /// The first and the last number.
    pub numbers: (u32, u32),
    /// Its name.
    pub name: &'static str,
    /// The vendors whose processors have it.
    pub maker: Maker,
    /// The value that a read returns.
    pub value: Value,
    /// The effect of a write.
    pub write: Write,
    /// The test that shows it.
    pub test: Evidence,
}

const fn msr(number: u32, name: &'static str, maker: Maker, value: Value, write: Write, test: Evidence) -> Msr {
    Msr { numbers: (number, number), name, maker, value, write, test }
}

const READ: Evidence = Host("model_specific_registers");
const TABLE: Evidence = Host("msrs_match_the_table");

/// All MSRs that guests can access.
pub static TABLE_OF_MSRS: &[Msr] = &[
    msr(0x10, "TSC", Maker::Any, Value::Counter, Write::Refused, Guest("privileged", "all")),
    msr(0x17, "PLATFORM_ID", Maker::Intel, Value::Constant(0), Write::Refused, TABLE),
    msr(0x1b, "APIC_BASE", Maker::Any, Value::ApicBase, Write::Refused, READ),
    // Locked, with no feature enabled.
    msr(0x3a, "FEATURE_CONTROL", Maker::Intel, Value::Constant(1), Write::Refused, TABLE),
    msr(0x8b, "microcode revision (Intel)", Maker::Intel, Value::Constant(0), Write::Zero, TABLE),
    msr(0x8b, "microcode revision (AMD)", Maker::Amd, Value::Constant(0), Write::Refused, TABLE),
    msr(number::PLATFORM_INFO, "PLATFORM_INFO", Maker::Intel, Value::Constant(0), Write::Refused, TABLE),
    msr(0x140, "MISC_FEATURES_ENABLES", Maker::Intel, Value::Constant(0), Write::Same, TABLE),
    msr(
        number::SPEC_CTRL,
        "SPEC_CTRL",
        Maker::Any,
        Value::SpeculationControl,
        Write::Controls,
        Host("speculation_controls_follow_the_policy"),
    ),
    msr(0x49, "PRED_CMD", Maker::Any, Value::Nothing, Write::Barrier, Host("speculation_controls_follow_the_policy")),
    msr(
        number::ARCH_CAPABILITIES,
        "ARCH_CAPABILITIES",
        Maker::Any,
        Value::Capabilities,
        Write::Refused,
        Guest("privileged", "capabilities"),
    ),
    // Fast strings enabled; branch trace and precise sampling unavailable; no xTPR messages.
    msr(0x1a0, "MISC_ENABLE", Maker::Intel, Value::Constant(0x80_1801), Write::Ignored, TABLE),
    // The memory types of the interface.
    msr(0x277, "PAT", Maker::Any, Value::Constant(0x0000_0501_0007_0406), Write::Same, READ),
    msr(0x345, "PERF_CAPABILITIES", Maker::Intel, Value::Constant(0), Write::Refused, TABLE),
    msr(0xc000_0080, "EFER", Maker::Any, Value::Efer, Write::Same, READ),
    msr(0xc000_0100, "FS_BASE", Maker::Any, Value::FsBase, Write::Base, Guest("privileged", "bases")),
    msr(0xc000_0101, "GS_BASE", Maker::Any, Value::GsBase, Write::Base, Guest("privileged", "bases")),
    msr(
        number::KERNEL_GS_BASE,
        "KERNEL_GS_BASE",
        Maker::Any,
        Value::UserGsBase,
        Write::Base,
        Guest("privileged", "bases"),
    ),
    // The TSC counts at the frequency of P0.
    msr(0xc001_0015, "HWCR", Maker::Amd, Value::Constant(1 << 24), Write::Refused, TABLE),
    Msr {
        numbers: (0xc001_0041, 0xc001_0042),
        name: "FIDVID_CTL, FIDVID_STATUS",
        maker: Maker::Amd,
        value: Value::Constant(0),
        write: Write::Refused,
        test: TABLE,
    },
    Msr {
        numbers: (0xc001_0061, 0xc001_006b),
        name: "P-state limit, control, status and definitions",
        maker: Maker::Amd,
        value: Value::Constant(0),
        write: Write::Refused,
        test: TABLE,
    },
    // LFENCE is dispatch serialising.
    msr(0xc001_1029, "DE_CFG", Maker::Amd, Value::Constant(1 << 1), Write::Ignored, TABLE),
];

/// The local APIC's default address, with the enable bit.
const APIC_BASE: u64 = 0xfee0_0000 | 1 << 11;
const APIC_BASE_BOOT_CPU: u64 = 1 << 8;

/// The number of MSRs in the interface's lists.
pub const LISTED: usize = 2;

/// The MSRs in the interface's lists. No guest has any of the features in PLATFORM_INFO.
pub const fn list(policy: &Policy) -> [MsrEntry; LISTED] {
    [
        MsrEntry { index: number::PLATFORM_INFO, flags: 0, value: 0 },
        MsrEntry { index: number::ARCH_CAPABILITIES, flags: 0, value: policy.arch_capabilities },
    ]
}

/// Checks an entry of a list that the tools set, and returns the value of ARCH_CAPABILITIES if it
/// is that. Its bits are treated like those of CPUID: those beyond the maximum are not shown.
///
/// # Errors
/// `ERANGE` if the MSR is not in the lists, `EINVAL` if the entry requests an unavailable feature.
pub fn judge(entry: &MsrEntry) -> Result<Option<u64>, Errno> {
    match (entry.index, entry.value) {
        (number::PLATFORM_INFO | number::ARCH_CAPABILITIES, _) if entry.flags != 0 => Err(Errno::EINVAL),
        (number::PLATFORM_INFO, 0) => Ok(None),
        (number::PLATFORM_INFO, _) => Err(Errno::EINVAL),
        (number::ARCH_CAPABILITIES, value) => Ok(Some(value)),
        _ => Err(Errno::ERANGE),
    }
}

/// Bits of SPEC_CTRL.
const IBRS: u64 = 1 << 0;
const STIBP: u64 = 1 << 1;
const SSBD: u64 = 1 << 2;
const PSFD: u64 = 1 << 7;

/// The bits of SPEC_CTRL that a domain can set; zero if its policy has none of the controls, so
/// that the register does not exist. As on processors, STIBP can be set if there is any other.
pub(crate) fn spec_ctrl_choice(policy: &Policy) -> u64 {
    let intel = policy.leaf(policy::STRUCTURED, 0)[3];
    let amd = policy.leaf(policy::ADDRESSES, 0)[1];
    let mut choice = 0;
    for (there, bits) in [
        (intel & features::IBRSB != 0, IBRS | STIBP),
        (amd & (features::STIBP | features::SSBD | features::PSFD) != 0, STIBP),
        (intel & features::INTEL_SSBD != 0 || amd & features::SSBD != 0, SSBD),
        (amd & features::PSFD != 0, PSFD),
    ] {
        choice |= if there { bits } else { 0 };
    }
    choice
}

/// Whether a vCPU can have this value in an MSR that no other structure transfers: only SPEC_CTRL
/// is one.
pub(crate) fn is_legal_state(policy: &Policy, number: u32, value: u64) -> bool {
    number == number::SPEC_CTRL && value & !spec_ctrl_choice(policy) == 0 && spec_ctrl_choice(policy) != 0
}

/// Whether the policy has ARCH_CAPABILITIES.
fn has_capabilities(policy: &Policy) -> bool {
    policy.leaf(policy::STRUCTURED, 0)[3] & features::ARCH_CAPS != 0
}

/// IBPB, in PRED_CMD.
const PREDICTION_BARRIER: u64 = 1 << 0;

/// Whether the policy has IBPB.
fn has_barrier(policy: &Policy) -> bool {
    let [intel, amd] = [policy.leaf(policy::STRUCTURED, 0)[3], policy.leaf(policy::ADDRESSES, 0)[1]];
    intel & features::IBRSB != 0 || amd & features::IBPB != 0
}

fn vendor() -> Vendor {
    Vendor::of(cpu::cpuid(0, 0))
}

/// The row of an MSR on a processor of this vendor.
fn find(number: u32, vendor: Vendor) -> Option<&'static Msr> {
    let is_there = |maker| match maker {
        Maker::Any => true,
        Maker::Intel => vendor == Vendor::Intel,
        Maker::Amd => vendor == Vendor::Amd,
    };
    TABLE_OF_MSRS.iter().find(|row| (row.numbers.0..=row.numbers.1).contains(&number) && is_there(row.maker))
}

fn efer() -> u64 {
    if cpu::features().no_execute { registers::EFER } else { registers::EFER & !registers::EFER_NO_EXECUTE }
}

/// The value that the kernel reads from MSR `number`, or `None` if the read faults.
pub fn read(cpu: &Active, domain: &Arc<Domain>, vcpu: &Arc<Vcpu>, number: u32) -> Option<u64> {
    // Linux reads it at each context switch, so the search is skipped.
    if number == number::KERNEL_GS_BASE {
        return Some(cpu.live_user_gs_base());
    }
    Some(match find(number, vendor())?.value {
        Value::Constant(value) => value,
        Value::Efer => efer(),
        Value::ApicBase => APIC_BASE | if vcpu.id() == VcpuId::BOOT { APIC_BASE_BOOT_CPU } else { 0 },
        Value::Counter => machine::time::tsc(),
        Value::FsBase => cpu.live_segment_bases().0,
        Value::GsBase => cpu.live_segment_bases().1,
        Value::UserGsBase => cpu.live_user_gs_base(),
        Value::SpeculationControl if spec_ctrl_choice(&domain.cpu_policy()) != 0 => cpu.context().spec_ctrl(),
        Value::Capabilities if has_capabilities(&domain.cpu_policy()) => domain.cpu_policy().arch_capabilities,
        Value::SpeculationControl | Value::Capabilities | Value::Nothing => return None,
    })
}

/// Writes MSR `number` for the kernel. Returns `false` if the write faults.
pub fn write(cpu: &mut Active, domain: &Arc<Domain>, _: &Arc<Vcpu>, number: u32, value: u64) -> bool {
    let Some(row) = find(number, vendor()) else { return false };
    match (row.write, row.value) {
        (Write::Base, Value::FsBase) => cpu.set_fs_base(value),
        (Write::Base, Value::GsBase) => cpu.set_kernel_gs_base(value),
        (Write::Base, _) => cpu.set_user_gs_base(value),
        (Write::Same, Value::Efer) => value == efer(),
        (Write::Same, Value::Constant(same)) => value == same,
        (Write::Zero, _) => value == 0,
        (Write::Ignored, _) => true,
        (Write::Controls, _) => {
            let legal = is_legal_state(&domain.cpu_policy(), number, value);
            if legal {
                cpu.set_spec_ctrl(value);
            }
            legal
        }
        (Write::Barrier, _) => {
            let legal = has_barrier(&domain.cpu_policy()) && value & !PREDICTION_BARRIER == 0;
            if legal && value != 0 {
                cpu.discard_predictions();
            }
            legal
        }
        (Write::Refused | Write::Same, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn msrs_match_the_table() {
        let constant = |number, vendor| match find(number, vendor)?.value {
            Value::Constant(value) => Some((value, find(number, vendor)?.write)),
            _ => None,
        };
        for (number, intel, amd) in [
            (0x17, Some((0, Write::Refused)), None),
            (0x3a, Some((1, Write::Refused)), None),
            (0x8b, Some((0, Write::Zero)), Some((0, Write::Refused))),
            (0xce, Some((0, Write::Refused)), None),
            (0x140, Some((0, Write::Same)), None),
            (0x1a0, Some((0x80_1801, Write::Ignored)), None),
            (0x277, Some((0x0501_0007_0406, Write::Same)), Some((0x0501_0007_0406, Write::Same))),
            (0x345, Some((0, Write::Refused)), None),
            (0xc001_0015, None, Some((1 << 24, Write::Refused))),
            (0xc001_0042, None, Some((0, Write::Refused))),
            (0xc001_006b, None, Some((0, Write::Refused))),
            (0xc001_006c, None, None),
            (0xc001_1029, None, Some((2, Write::Ignored))),
        ] {
            assert_eq!((constant(number, Vendor::Intel), constant(number, Vendor::Amd)), (intel, amd), "{number:#x}");
        }
    }

    #[test]
    fn hidden_msrs_are_in_no_row() {
        // FLUSH_CMD, machine check, SYSENTER, debug control, performance counters,
        // x2APIC, XSS, SYSCALL, TSC_AUX, SVM.
        let hidden = [0x10b, 0x174, 0x179, 0x186, 0x1d9, 0x38f, 0x400, 0x6e0, 0x802, 0xda0];
        let hidden = hidden.into_iter().chain(0xc000_0081..=0xc000_0084).chain([0xc000_0103, 0xc001_0114, 0xc001_0117]);
        for number in hidden {
            assert!(find(number, Vendor::Intel).is_none() && find(number, Vendor::Amd).is_none(), "{number:#x}");
        }
    }
}
