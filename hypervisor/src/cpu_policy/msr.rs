//! The model-specific registers that a guest's kernel can read and write, and their values.
//! Accesses to all others fault.

use abi::arch_x86_64::MsrEntry;
use abi::errno::Errno;
use alloc::sync::Arc;
use machine::context::Active;
use machine::cpu;

use super::evidence::Evidence::{self, Guest, Host};
use super::{Vendor, registers};
use crate::domain::{Domain, Vcpu, VcpuId};

/// MSRs that are used by name. The numbers are from Intel's and AMD's manuals.
mod number {
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

/// One or more MSRs that a guest's kernel can read.
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

/// All MSRs that guests can read.
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

/// The MSRs in the interface's lists. No guest has any of the features in them.
pub const LISTED: [MsrEntry; 2] = [
    MsrEntry { index: number::PLATFORM_INFO, flags: 0, value: 0 },
    MsrEntry { index: number::ARCH_CAPABILITIES, flags: 0, value: 0 },
];

/// Checks an entry of a list that the tools set.
///
/// # Errors
/// `ERANGE` if the MSR is not in the lists, `EINVAL` if the entry requests an unavailable feature.
pub fn judge(entry: &MsrEntry) -> Result<(), Errno> {
    let listed = LISTED.iter().find(|listed| listed.index == entry.index).ok_or(Errno::ERANGE)?;
    if entry.flags != 0 || entry.value != listed.value { Err(Errno::EINVAL) } else { Ok(()) }
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
pub fn read(cpu: &Active, _: &Arc<Domain>, vcpu: &Arc<Vcpu>, number: u32) -> Option<u64> {
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
    })
}

/// Writes MSR `number` for the kernel. Returns `false` if the write faults.
pub fn write(cpu: &mut Active, _: &Arc<Domain>, _: &Arc<Vcpu>, number: u32, value: u64) -> bool {
    let Some(row) = find(number, vendor()) else { return false };
    match (row.write, row.value) {
        (Write::Base, Value::FsBase) => cpu.set_fs_base(value),
        (Write::Base, Value::GsBase) => cpu.set_kernel_gs_base(value),
        (Write::Base, _) => cpu.set_user_gs_base(value),
        (Write::Same, Value::Efer) => value == efer(),
        (Write::Same, Value::Constant(same)) => value == same,
        (Write::Zero, _) => value == 0,
        (Write::Ignored, _) => true,
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
        // Speculation control, machine check, SYSENTER, debug control, performance counters,
        // x2APIC, XSS, SYSCALL, TSC_AUX, SVM.
        let hidden = [0x48, 0x49, 0x10a, 0x10b, 0x174, 0x179, 0x186, 0x1d9, 0x38f, 0x400, 0x6e0, 0x802, 0xda0];
        let hidden = hidden.into_iter().chain(0xc000_0081..=0xc000_0084).chain([0xc000_0103, 0xc001_0114, 0xc001_0117]);
        for number in hidden {
            assert!(find(number, Vendor::Intel).is_none() && find(number, Vendor::Amd).is_none(), "{number:#x}");
        }
    }
}
