//! Facts that the processor reports by CPUID and MSRs: the input of the plan, read once at boot.

use super::bits::{capability, leaf_1_ecx, leaf_7_2_edx, leaf_7_ebx, leaf_7_edx, leaf_e8_ebx, mcu_opt_ctrl, spec_ctrl};
use crate::integers::{low_u16, low_u32};
use crate::processor::msr;

/// The maker of the processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD.
    Amd,
    /// Hygon, whose processors are AMD's first Zen generation.
    Hygon,
    /// Any other.
    Other,
}

impl Vendor {
    pub(super) const fn of([_, ebx, _, _]: [u32; 4]) -> Self {
        match &ebx.to_le_bytes() {
            b"Genu" => Self::Intel,
            b"Auth" => Self::Amd,
            b"Hygo" => Self::Hygon,
            _ => Self::Other,
        }
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
            Self::Hygon => "Hygon",
            Self::Other => "other",
        }
    }
}

/// Facts about the processor and the machine. All CPUs are assumed to be identical. A word of a
/// leaf that the processor does not have is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names of CPUID words are the architecture's")]
pub struct Facts {
    pub vendor: Vendor,
    pub family: u16,
    pub model: u8,
    pub stepping: u8,
    pub leaf_1_ecx: u32,
    pub leaf_7_ebx: u32,
    pub leaf_7_edx: u32,
    pub leaf_7_2_edx: u32,
    pub leaf_e8_ebx: u32,
    pub leaf_e21_eax: u32,
    pub leaf_e21_ecx: u32,
    /// ARCH_CAPABILITIES (Intel), if it exists.
    pub arch_capabilities: Option<u64>,
    /// MCU_OPT_CTRL (Intel), if it exists.
    pub mcu_opt_ctrl: Option<u64>,
    /// DE_CFG (AMD), if it can be read.
    pub de_cfg: Option<u64>,
    /// The revision of the microcode, if it can be read. Hypervisors report an invented one, or
    /// none.
    pub microcode: Option<u32>,
    /// The processor accepts the selective barrier (SBPB) in PRED_CMD, as AMD's do since the
    /// microcode against SRSO.
    pub selective_barrier: bool,
    /// Threads of a core that the firmware has enabled.
    pub threads_per_core: u16,
}

impl Facts {
    /// Facts about a processor of which nothing is known.
    pub const NOTHING: Self = Self {
        vendor: Vendor::Other,
        family: 0,
        model: 0,
        stepping: 0,
        leaf_1_ecx: 0,
        leaf_7_ebx: 0,
        leaf_7_edx: 0,
        leaf_7_2_edx: 0,
        leaf_e8_ebx: 0,
        leaf_e21_eax: 0,
        leaf_e21_ecx: 0,
        arch_capabilities: None,
        mcu_opt_ctrl: None,
        de_cfg: None,
        microcode: None,
        selective_barrier: false,
        threads_per_core: 1,
    };

    /// Reads the facts, except for the selective barrier, from CPUID and from MSRs. `read_msr`
    /// returns `None` for an MSR whose reading faults.
    pub fn read(cpuid: &dyn Fn(u32, u32) -> [u32; 4], read_msr: &dyn Fn(u32) -> Option<u64>) -> Self {
        let vendor = Vendor::of(cpuid(0, 0));
        let limits = [cpuid(0, 0)[0], cpuid(0x8000_0000, 0)[0]];
        let leaf = |number: u32, subleaf| {
            let last = limits[usize::from(number >= 0x8000_0000)];
            if number <= last { cpuid(number, subleaf) } else { [0; 4] }
        };
        let [signature, _, leaf_1_ecx, _] = leaf(1, 0);
        let [last_subleaf, leaf_7_ebx, _, leaf_7_edx] = leaf(7, 0);
        let (family, model, stepping) = decode(signature);
        let intel = |number, exists: bool| if vendor == Vendor::Intel && exists { read_msr(number) } else { None };
        let arch_capabilities = intel(msr::ARCH_CAPABILITIES, leaf_7_edx & leaf_7_edx::ARCH_CAPS != 0);
        let has_control = leaf_7_edx & leaf_7_edx::SRBDS_CTRL != 0
            || arch_capabilities.is_some_and(|bits| bits & capability::GDS_CTRL != 0);
        let mut facts = Self {
            vendor,
            family,
            model,
            stepping,
            leaf_1_ecx,
            leaf_7_ebx,
            leaf_7_edx,
            leaf_7_2_edx: if last_subleaf >= 2 { leaf(7, 2)[3] } else { 0 },
            leaf_e8_ebx: leaf(0x8000_0008, 0)[1],
            leaf_e21_eax: leaf(0x8000_0021, 0)[0],
            leaf_e21_ecx: leaf(0x8000_0021, 0)[2],
            arch_capabilities,
            mcu_opt_ctrl: intel(msr::MCU_OPT_CTRL, has_control),
            ..Self::NOTHING
        };
        facts.de_cfg = if facts.is_amd() { read_msr(msr::DE_CFG) } else { None };
        facts.microcode = facts.revision(read_msr);
        facts.threads_per_core = facts.threads(&leaf, read_msr);
        facts
    }

    /// The microcode revision, which is in the upper half of the MSR on Intel's processors.
    fn revision(&self, read_msr: &dyn Fn(u32) -> Option<u64>) -> Option<u32> {
        let shift = match self.vendor {
            Vendor::Intel => 32,
            Vendor::Amd | Vendor::Hygon => 0,
            Vendor::Other => return None,
        };
        read_msr(msr::MICROCODE_REVISION).map(|value| low_u32(value >> shift)).filter(|&revision| revision != 0)
    }

    /// The threads of a core. CPUID of Intel's processors describes what they could have, and an
    /// MSR what is enabled.
    fn threads(&self, leaf: &dyn Fn(u32, u32) -> [u32; 4], read_msr: &dyn Fn(u32) -> Option<u64>) -> u16 {
        if self.vendor == Vendor::Intel
            && !self.is_virtual()
            && let Some(count) = read_msr(msr::CORE_THREAD_COUNT)
            && let (cores @ 1.., threads @ 1..) = (count >> 16 & 0xffff, count & 0xffff)
        {
            // Some cores of a hybrid processor have one thread.
            return low_u16(threads.div_ceil(cores)).max(1);
        }
        const THREADS: u32 = 1;
        let [_, at_level, level, _] = leaf(0xb, 0);
        if at_level != 0 && level >> 8 & 0xff == THREADS {
            return low_u16(at_level.into()).max(1);
        }
        if self.is_amd() && self.family >= 0x17 {
            return low_u16(u64::from(leaf(0x8000_001e, 0)[1]) >> 8 & 0xff) + 1;
        }
        1
    }

    /// The processor is AMD's or Hygon's.
    pub const fn is_amd(&self) -> bool {
        matches!(self.vendor, Vendor::Amd | Vendor::Hygon)
    }

    /// Another hypervisor runs below.
    pub const fn is_virtual(&self) -> bool {
        self.leaf_1_ecx & leaf_1_ecx::HYPERVISOR != 0
    }

    /// ARCH_CAPABILITIES has one of these bits.
    pub fn can(&self, bits: u64) -> bool {
        self.arch_capabilities.is_some_and(|capabilities| capabilities & bits != 0)
    }

    /// Leaf 7, EDX, has one of these bits.
    pub const fn leaf_7_edx(&self, bits: u32) -> bool {
        self.leaf_7_edx & bits != 0
    }

    /// Leaf 0x80000008, EBX, has one of these bits.
    pub const fn leaf_e8_ebx(&self, bits: u32) -> bool {
        self.leaf_e8_ebx & bits != 0
    }

    /// Leaf 0x80000021, EAX, has one of these bits.
    pub const fn leaf_e21_eax(&self, bits: u32) -> bool {
        self.leaf_e21_eax & bits != 0
    }

    /// SPEC_CTRL has IBRS.
    pub const fn has_ibrs(&self) -> bool {
        self.leaf_7_edx(leaf_7_edx::IBRSB) || self.leaf_e8_ebx(leaf_e8_ebx::IBRS)
    }

    /// PRED_CMD has IBPB.
    pub const fn has_ibpb(&self) -> bool {
        self.leaf_7_edx(leaf_7_edx::IBRSB) || self.leaf_e8_ebx(leaf_e8_ebx::IBPB)
    }

    /// SPEC_CTRL has STIBP.
    pub const fn has_stibp(&self) -> bool {
        self.leaf_7_edx(leaf_7_edx::STIBP) || self.leaf_e8_ebx(leaf_e8_ebx::STIBP)
    }

    /// SPEC_CTRL has SSBD.
    pub const fn has_ssbd(&self) -> bool {
        self.leaf_7_edx(leaf_7_edx::SSBD) || self.leaf_e8_ebx(leaf_e8_ebx::SSBD)
    }

    /// SPEC_CTRL has PSFD.
    pub const fn has_psfd(&self) -> bool {
        self.leaf_7_2_edx & leaf_7_2_edx::PSFD != 0 || self.leaf_e8_ebx(leaf_e8_ebx::PSFD)
    }

    /// The bits of SPEC_CTRL that the register accepts and that guests may be offered.
    pub const fn spec_ctrl_bits(&self) -> u64 {
        (self.has_ibrs() as u64 * spec_ctrl::IBRS)
            | (self.has_stibp() as u64 * spec_ctrl::STIBP)
            | (self.has_ssbd() as u64 * spec_ctrl::SSBD)
            | (self.has_psfd() as u64 * spec_ctrl::PSFD)
    }

    /// Enhanced IBRS.
    pub fn has_enhanced_ibrs(&self) -> bool {
        self.can(capability::IBRS_ALL) && self.has_ibrs()
    }

    /// Whether the mitigation of GDS is on, if the firmware has locked it.
    pub fn gather_lock(&self) -> Option<bool> {
        let bits = self.mcu_opt_ctrl.filter(|bits| bits & mcu_opt_ctrl::GDS_MITG_LOCK != 0)?;
        self.can(capability::GDS_CTRL).then_some(bits & mcu_opt_ctrl::GDS_MITG_DIS == 0)
    }

    /// Transactions can be started.
    pub const fn has_tsx(&self) -> bool {
        self.leaf_7_ebx & leaf_7_ebx::RTM != 0
    }
}

/// Family, model and stepping of leaf 1, EAX.
fn decode(signature: u32) -> (u16, u8, u8) {
    let [low, middle, extended, top] = signature.to_le_bytes();
    let base = middle & 0xf;
    let family = u16::from(base) + if base == 0xf { u16::from(extended >> 4 | top << 4) } else { 0 };
    let extended_model = if base == 6 || base == 0xf { extended << 4 } else { 0 };
    (family, extended_model | low >> 4, low & 0xf)
}

#[cfg(test)]
mod tests {
    use super::super::bits::{leaf_e21_eax, leaf_e21_ecx};
    use super::*;

    #[test]
    fn signatures_are_decoded() {
        // Haswell, Emerald Rapids, Zen 1, Zen 5, and a family beyond 0x1f.
        assert_eq!(decode(0x306c3), (6, 0x3c, 3));
        assert_eq!(decode(0xc06f2), (6, 0xcf, 2));
        assert_eq!(decode(0x0080_0f11), (0x17, 0x01, 1));
        assert_eq!(decode(0x00b4_0f40), (0x1a, 0x44, 0));
        assert_eq!(decode(0x0ff0_0f00), (0x10e, 0, 0));
    }

    /// CPUID of a processor with these leaves only.
    fn leaves(list: &'static [(u32, u32, [u32; 4])]) -> impl Fn(u32, u32) -> [u32; 4] {
        |leaf, subleaf| list.iter().find(|row| (row.0, row.1) == (leaf, subleaf)).map_or([0xdead; 4], |row| row.2)
    }

    const GENUINE: [u32; 4] = [0x16, u32::from_le_bytes(*b"Genu"), 0, 0];
    const AUTHENTIC: [u32; 4] = [0xd, u32::from_le_bytes(*b"Auth"), 0, 0];

    #[test]
    fn facts_of_an_intel_processor_are_read() {
        let cpuid = leaves(&[
            (0, 0, GENUINE),
            (0x8000_0000, 0, [0x8000_0008, 0, 0, 0]),
            (0x8000_0008, 0, [0x3027, 0, 0, 0]),
            (1, 0, [0x506e3, 0, leaf_1_ecx::PCID, 0]),
            (7, 0, [0, leaf_7_ebx::RTM, 0, leaf_7_edx::ARCH_CAPS | leaf_7_edx::IBRSB]),
            (0xb, 0, [1, 2, 0x100, 0]),
        ]);
        let msrs = |number| match number {
            msr::MICROCODE_REVISION => Some(0xf0_0000_0000),
            msr::ARCH_CAPABILITIES => Some(capability::RSBA),
            msr::CORE_THREAD_COUNT => Some(0x4_0004),
            _ => None,
        };
        let facts = Facts::read(&cpuid, &msrs);
        assert_eq!((facts.vendor, facts.family, facts.model, facts.stepping), (Vendor::Intel, 6, 0x5e, 3));
        assert_eq!((facts.microcode, facts.threads_per_core), (Some(0xf0), 1));
        assert_eq!((facts.arch_capabilities, facts.mcu_opt_ctrl), (Some(capability::RSBA), None));
        assert_eq!((facts.leaf_7_2_edx, facts.leaf_e21_eax), (0, 0), "leaves that do not exist are zero");
        // Eight cores with two threads, and eight with one.
        let hybrid =
            Facts::read(&cpuid, &|number| if number == msr::CORE_THREAD_COUNT { Some(0x10_0018) } else { None });
        assert_eq!(hybrid.threads_per_core, 2);
        let hidden = Facts::read(&cpuid, &|_| None);
        assert_eq!((hidden.microcode, hidden.arch_capabilities, hidden.threads_per_core), (None, None, 2));
    }

    #[test]
    fn facts_of_an_amd_processor_are_read() {
        let cpuid = leaves(&[
            (0, 0, AUTHENTIC),
            (0x8000_0000, 0, [0x8000_0021, 0, 0, 0]),
            (0x8000_0008, 0, [0x3030, leaf_e8_ebx::IBPB, 0, 0]),
            (0x8000_001e, 0, [0, 0x100, 0, 0]),
            (0x8000_0021, 0, [leaf_e21_eax::SRSO_NO, 0, leaf_e21_ecx::TSA_SQ_NO, 0]),
            (1, 0, [0x0083_0f10, 0, 0, 0]),
            (7, 0, [0, leaf_7_ebx::SMEP, 0, 0]),
            (0xb, 0, [0, 0, 0, 0]),
        ]);
        let facts = Facts::read(&cpuid, &|number| match number {
            msr::MICROCODE_REVISION => Some(0x0830_1034),
            msr::DE_CFG => Some(2),
            _ => panic!("{number:#x} is not AMD's"),
        });
        assert_eq!((facts.vendor, facts.family, facts.model), (Vendor::Amd, 0x17, 0x31));
        assert_eq!((facts.microcode, facts.de_cfg, facts.threads_per_core), (Some(0x0830_1034), Some(2), 2));
        assert!(facts.has_ibpb() && !facts.has_ibrs() && facts.leaf_e21_eax(leaf_e21_eax::SRSO_NO));
        assert_eq!(facts.leaf_e21_ecx, leaf_e21_ecx::TSA_SQ_NO);
    }
}
