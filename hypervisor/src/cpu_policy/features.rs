//! The feature bits that guests may see: those of instructions that run natively in ring 3, and
//! those that Paravane emulates. Names and positions are those of `arch-x86/cpufeatureset.h`. A bit
//! that is not listed is hidden. `docs/processor.md` is generated from these tables.
//!
//! The bits about transient execution come from `machine::defences::GuestView`, which has those
//! that are true for a kernel in ring 3.
//!
//! Hidden on purpose: features that only ring 0 can use (VME, PSE, PGE, MTRR, MONITOR, VMX, SVM,
//! PCID, SMEP, SMAP, UMIP, PKU, LA57, CET, TSC deadline, x2APIC), features whose MSRs are not
//! emulated (machine check, RDTSCP and RDPID), and extended states beyond AVX-512 (MPX, PKU, AMX).

use super::evidence::Evidence::{self, Guest, Host};

/// A feature that guests may see.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its bit.
    pub bit: u32,
    /// Its name.
    pub name: &'static str,
    /// How it works for guests.
    pub kind: Kind,
}

/// How a feature works for guests.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Its instructions run natively in ring 3.
    Runs,
    /// It describes the processor and needs no support.
    Tells,
    /// Paravane supports it in this way.
    Done(&'static str, Evidence),
}

/// The features in one register of a leaf.
#[derive(Debug)]
pub struct Word {
    /// Leaf and subleaf.
    pub leaf: (u32, u32),
    /// Name of the register.
    pub register: &'static str,
    /// The features that guests may see.
    pub features: &'static [Feature],
}

const fn runs(bit: u32, name: &'static str) -> Feature {
    Feature { bit, name, kind: Kind::Runs }
}

const fn tells(bit: u32, name: &'static str) -> Feature {
    Feature { bit, name, kind: Kind::Tells }
}

const fn done(bit: u32, name: &'static str, what: &'static str, test: Evidence) -> Feature {
    Feature { bit, name, kind: Kind::Done(what, test) }
}

/// The bits of the features.
const fn mask(mut features: &[Feature]) -> u32 {
    let mut all = 0;
    while let [first, rest @ ..] = features {
        all |= 1 << first.bit;
        features = rest;
    }
    all
}

const CONTROLS: Evidence = Host("speculation_controls_follow_the_policy");
const CAPABILITIES: Evidence = Guest("privileged", "capabilities");

const SAVED: &str = "its state is switched with the vCPU";

/// The bits at the positions listed.
const fn bits(mut positions: &[u32]) -> u32 {
    let mut all = 0;
    while let [first, rest @ ..] = positions {
        all |= 1 << *first;
        positions = rest;
    }
    all
}

/// All features that guests may see.
pub static WORDS: &[Word] = &[
    Word { leaf: (1, 0), register: "EDX", features: LEAF_1_EDX },
    Word { leaf: (1, 0), register: "ECX", features: LEAF_1_ECX },
    Word { leaf: (7, 0), register: "EBX", features: LEAF_7_EBX },
    Word { leaf: (7, 0), register: "ECX", features: LEAF_7_ECX },
    Word { leaf: (7, 0), register: "EDX", features: LEAF_7_EDX },
    Word { leaf: (7, 1), register: "EAX", features: LEAF_7_1_EAX },
    Word { leaf: (0xd, 1), register: "EAX", features: LEAF_D_EAX },
    Word { leaf: (0x8000_0001, 0), register: "EDX", features: LEAF_E1_EDX },
    Word { leaf: (0x8000_0001, 0), register: "ECX", features: LEAF_E1_ECX },
    Word { leaf: (0x8000_0007, 0), register: "EDX", features: LEAF_E7_EDX },
    Word { leaf: (0x8000_0008, 0), register: "EBX", features: LEAF_E8_EBX },
    Word { leaf: (0x8000_0021, 0), register: "EAX", features: LEAF_E21_EAX },
];

const LEAF_1_EDX: &[Feature] = &[
    done(0, "FPU", SAVED, Guest("fpu", "two")),
    done(2, "DE", "see CR4.DE", Guest("processor", "ports")),
    done(4, "TSC", "see CR4.TSD", Guest("processor", "tsd")),
    done(5, "MSR", "see the table of MSRs", Guest("privileged", "bases")),
    done(6, "PAE", "see CR4.PAE", Guest("privileged", "cr4")),
    runs(8, "CX8"),
    done(
        9,
        "APIC",
        "kernels for this interface require it before they start vCPUs; event channels and `vcpu_op` replace the APIC, whose registers are not accessible",
        Guest("smp", "main"),
    ),
    done(11, "SEP", "SYSENTER of 32-bit code enters the guest's handler", Guest("traps", "system_calls")),
    runs(15, "CMOV"),
    done(
        16,
        "PAT",
        "the MSR has the interface's value and cannot be changed; guests with devices may use the memory types",
        Host("a_guest_cannot_choose_memory_types"),
    ),
    runs(19, "CLFLUSH"),
    runs(23, "MMX"),
    runs(24, "FXSR"),
    runs(25, "SSE"),
    runs(26, "SSE2"),
    tells(27, "SS"),
];
const LEAF_1_ECX: &[Feature] = &[
    runs(0, "SSE3"),
    runs(1, "PCLMULQDQ"),
    runs(9, "SSSE3"),
    runs(12, "FMA"),
    runs(13, "CX16"),
    runs(19, "SSE4_1"),
    runs(20, "SSE4_2"),
    runs(22, "MOVBE"),
    runs(23, "POPCNT"),
    runs(25, "AESNI"),
    done(26, "XSAVE", "see XCR0; OSXSAVE is shown with it", Guest("fpu", "xsave")),
    runs(28, "AVX"),
    runs(29, "F16C"),
    runs(30, "RDRAND"),
    done(
        31,
        "HYPERVISOR",
        "always shown: leaf 0x40000000 names the interface",
        Guest("privileged", "hypervisor_leaves"),
    ),
];
const LEAF_7_EBX: &[Feature] = &[
    done(0, "FSGSBASE", "see CR4.FSGSBASE", Guest("processor", "fsgsbase")),
    runs(3, "BMI1"),
    tells(4, "HLE"),
    runs(5, "AVX2"),
    tells(6, "FDP_EXCP_ONLY"),
    runs(8, "BMI2"),
    tells(9, "ERMS"),
    runs(11, "RTM"),
    tells(13, "NO_FPU_SEL"),
    runs(16, "AVX512F"),
    runs(17, "AVX512DQ"),
    runs(18, "RDSEED"),
    runs(19, "ADX"),
    runs(21, "AVX512_IFMA"),
    runs(23, "CLFLUSHOPT"),
    runs(24, "CLWB"),
    runs(26, "AVX512PF"),
    runs(27, "AVX512ER"),
    runs(28, "AVX512CD"),
    runs(29, "SHA"),
    runs(30, "AVX512BW"),
    runs(31, "AVX512VL"),
];
const LEAF_7_ECX: &[Feature] = &[
    runs(0, "PREFETCHWT1"),
    runs(1, "AVX512_VBMI"),
    runs(6, "AVX512_VBMI2"),
    runs(8, "GFNI"),
    runs(9, "VAES"),
    runs(10, "VPCLMULQDQ"),
    runs(11, "AVX512_VNNI"),
    runs(12, "AVX512_BITALG"),
    runs(14, "AVX512_VPOPCNTDQ"),
    runs(25, "CLDEMOTE"),
    runs(27, "MOVDIRI"),
    runs(28, "MOVDIR64B"),
];
const LEAF_7_EDX: &[Feature] = &[
    runs(2, "AVX512_4VNNIW"),
    runs(3, "AVX512_4FMAPS"),
    tells(4, "FSRM"),
    runs(8, "AVX512_VP2INTERSECT"),
    tells(10, "MD_CLEAR"),
    runs(14, "SERIALIZE"),
    runs(16, "TSXLDTRK"),
    done(26, "IBRSB", "see SPEC_CTRL and PRED_CMD", CONTROLS),
    done(27, "STIBP", "see SPEC_CTRL; shown with IBRSB only", CONTROLS),
    done(29, "ARCH_CAPS", "see ARCH_CAPABILITIES", CAPABILITIES),
    done(31, "SSBD", "see SPEC_CTRL; shown with IBRSB only", CONTROLS),
];
const LEAF_7_1_EAX: &[Feature] =
    &[runs(4, "AVX_VNNI"), runs(5, "AVX512_BF16"), tells(10, "FZRM"), tells(11, "FSRS"), tells(12, "FSRCS")];
const LEAF_D_EAX: &[Feature] = &[runs(0, "XSAVEOPT"), runs(1, "XSAVEC"), runs(2, "XGETBV1")];
const LEAF_E1_EDX: &[Feature] = &[
    done(11, "SYSCALL", "enters the guest's handler", Guest("traps", "system_calls")),
    done(20, "NX", "the NX bit of page-table entries works", Guest("traps", "page_faults")),
    runs(22, "MMXEXT"),
    tells(29, "LM"),
    runs(30, "3DNOWEXT"),
    runs(31, "3DNOW"),
];
const LEAF_E1_ECX: &[Feature] = &[
    runs(0, "LAHF_LM"),
    runs(5, "ABM"),
    runs(6, "SSE4A"),
    tells(7, "MISALIGNSSE"),
    runs(8, "3DNOWPREFETCH"),
    runs(11, "XOP"),
    runs(16, "FMA4"),
    runs(21, "TBM"),
];
const LEAF_E7_EDX: &[Feature] = &[done(
    8,
    "ITSC",
    "shown to domains whose configuration requests it",
    Host("the_default_policy_is_within_the_maximum_and_derives_itself"),
)];
const LEAF_E8_EBX: &[Feature] = &[
    runs(0, "CLZERO"),
    tells(2, "RSTR_FP_ERR_PTRS"),
    done(12, "IBPB", "see PRED_CMD", CONTROLS),
    done(15, "STIBP", "see SPEC_CTRL", CONTROLS),
    done(24, "SSBD", "see SPEC_CTRL", CONTROLS),
    tells(26, "SSB_NO"),
    done(28, "PSFD", "see SPEC_CTRL", CONTROLS),
    tells(29, "BTC_NO"),
    tells(30, "IBPB_RET"),
];
const LEAF_E21_EAX: &[Feature] = &[
    tells(2, "LFENCE_DISPATCH"),
    tells(5, "VERW_CLEAR"),
    tells(6, "NSCB"),
    tells(28, "IBPB_BRTYPE"),
    tells(29, "SRSO_NO"),
];

/// Leaf 1.
pub(super) const BASIC_EDX: u32 = mask(LEAF_1_EDX);
/// OSXSAVE depends on the guest's CR4, so no policy has it.
pub(super) const BASIC_ECX: u32 = mask(LEAF_1_ECX);
pub(super) const DEBUG_EXTENSIONS: u32 = bits(&[2]);
pub(super) const TSC: u32 = bits(&[4]);
pub(super) const XSAVE: u32 = bits(&[26]);
pub(super) const OSXSAVE: u32 = bits(&[27]);
pub(super) const AVX: u32 = bits(&[28]);
/// Leaf 1, ECX: XSAVE and the features that require it, and the features that require AVX.
pub(super) const BASIC_ECX_XSAVE: u32 = bits(&[12, 26, 28, 29]);
pub(super) const BASIC_ECX_AVX: u32 = bits(&[12, 28, 29]);
pub(super) const SYSENTER: u32 = bits(&[11]);
pub(super) const HYPERVISOR: u32 = bits(&[31]);
/// Leaf 1, EDX, and leaf 0x80000001, ECX: how core counts are encoded. Guests have these bits only
/// if the tools set them.
pub(super) const HYPER_THREADING: u32 = bits(&[28]);
pub(super) const LEGACY_CORES: u32 = bits(&[1]);

/// Leaf 7.
pub(super) const STRUCTURED_EBX: u32 = mask(LEAF_7_EBX);
pub(super) const AVX512F: u32 = bits(&[16]);
pub(super) const STRUCTURED_EBX_AVX: u32 = bits(&[5]);
pub(super) const STRUCTURED_EBX_AVX512: u32 = bits(&[16, 17, 21, 26, 27, 28, 30, 31]);
pub(super) const FSGSBASE: u32 = bits(&[0]);
pub(super) const SMAP: u32 = bits(&[20]);
pub(super) const STRUCTURED_ECX: u32 = mask(LEAF_7_ECX);
pub(super) const STRUCTURED_ECX_AVX: u32 = bits(&[9, 10]);
pub(super) const STRUCTURED_ECX_AVX512: u32 = bits(&[1, 6, 11, 12, 14]);
pub(super) const STRUCTURED_EDX: u32 = mask(LEAF_7_EDX);
pub(super) const MD_CLEAR: u32 = bits(&[10]);
pub(super) const ARCH_CAPS: u32 = bits(&[29]);
/// Leaf 7, EDX: SPEC_CTRL and PRED_CMD, and the controls that require it.
pub(super) const IBRSB: u32 = bits(&[26]);
pub(super) const INTEL_SSBD: u32 = bits(&[31]);
pub(super) const STRUCTURED_EDX_IBRSB: u32 = bits(&[27, 31]);
/// Leaf 7, EDX: the bits that follow from the host's defences.
pub(super) const STRUCTURED_EDX_DEFENCES: u32 = MD_CLEAR | IBRSB | ARCH_CAPS | STRUCTURED_EDX_IBRSB;
pub(super) const STRUCTURED_EDX_AVX512: u32 = bits(&[2, 3, 8]);
/// Leaf 7 subleaf 1.
pub(super) const STRUCTURED_1_EAX: u32 = mask(LEAF_7_1_EAX);
pub(super) const STRUCTURED_1_EAX_AVX: u32 = bits(&[4]);
pub(super) const STRUCTURED_1_EAX_AVX512: u32 = bits(&[5]);

/// Leaf 13 subleaf 1.
pub(super) const XSAVE_EAX: u32 = mask(LEAF_D_EAX);

/// Leaf 0x80000001.
pub(super) const EXTENDED_EDX: u32 = mask(LEAF_E1_EDX);
/// Leaf 0x80000001 of AMD: the bits that are repeated from leaf 1.
pub(super) const EXTENDED_EDX_REPEATED: u32 = BASIC_EDX & 0x0183_f3ff;
pub(super) const SYSCALL: u32 = bits(&[11]);
pub(super) const NO_EXECUTE: u32 = bits(&[20]);
pub(super) const EXTENDED_ECX: u32 = mask(LEAF_E1_ECX);
pub(super) const EXTENDED_ECX_AVX: u32 = bits(&[11, 16]);
/// Leaf 0x80000007.
pub(super) const INVARIANT_TSC: u32 = mask(LEAF_E7_EDX);
/// Leaf 0x80000008.
pub(super) const ADDRESS_EBX: u32 = mask(LEAF_E8_EBX);
/// Leaf 0x80000008, EBX: IBPB, and the controls in SPEC_CTRL.
pub(super) const IBPB: u32 = bits(&[12]);
pub(super) const STIBP: u32 = bits(&[15]);
pub(super) const SSBD: u32 = bits(&[24]);
pub(super) const PSFD: u32 = bits(&[28]);
/// Leaf 0x80000008, EBX: the bits that follow from the host's defences.
pub(super) const ADDRESS_EBX_DEFENCES: u32 = IBPB | STIBP | SSBD | PSFD | bits(&[26, 29, 30]);
/// Leaf 0x80000021.
pub(super) const EXTENDED_21_EAX: u32 = mask(LEAF_E21_EAX);
/// Leaf 0x80000021, EAX: the bits that follow from the host's defences.
pub(super) const EXTENDED_21_EAX_DEFENCES: u32 = bits(&[5, 28, 29]);

/// Bits of ARCH_CAPABILITIES that the tools may show although they are not true here, since they
/// are about a host to which the guest may be moved: returns may use other predictors (RSBA), and
/// VERW clears buffers (FB_CLEAR, RFDS_CLEAR).
pub(super) const POOLED_CAPABILITIES: u64 = 1 << 2 | 1 << 17 | 1 << 28;

/// Features that guests have only if their configuration requests them, by feature word: those that
/// another processor of the same generation may lack (HLE, AVX512_VP2INTERSECT, MOVDIRI, MOVDIR64B,
/// TSXLDTRK), and ITSC, on which a migrated guest cannot rely.
pub(super) const ON_DEMAND: [(usize, u32); 4] =
    [(5, bits(&[4])), (6, bits(&[27, 28])), (7, INVARIANT_TSC), (9, bits(&[8, 16]))];
