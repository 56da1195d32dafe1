//! Which feature bits a guest may see: those of instructions that work in ring 3 as they are, and of those that Paravane emulates. The
//! names and places are those of `arch-x86/cpufeatureset.h`. A bit that is not listed is hidden.
//!
//! Hidden on purpose: what only ring 0 can use (VME, PSE, PGE, MTRR, MONITOR, VMX, SVM, PCID, SMEP, SMAP, UMIP, PKU, LA57, CET, TSC
//! deadline, x2APIC), what has no handling of its MSRs here (machine check, RDTSCP and RDPID, speculation control), and extended
//! states beyond AVX-512 (MPX, PKU, AMX).

/// The bits at the positions listed.
const fn bits(positions: &[u32]) -> u32 {
    let mut all = 0;
    let mut at = 0;
    while at < positions.len() {
        all |= 1 << positions[at];
        at += 1;
    }
    all
}

/// Leaf 1, EDX: FPU DE TSC MSR PAE CX8 APIC SEP CMOV PAT CLFLUSH MMX FXSR SSE SSE2 SS.
pub(super) const BASIC_EDX: u32 = bits(&[0, 2, 4, 5, 6, 8, 9, 11, 15, 16, 19, 23, 24, 25, 26, 27]);
/// Leaf 1, ECX: SSE3 PCLMULQDQ SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT AESNI XSAVE AVX F16C RDRAND. OSXSAVE is what the
/// operating system does, so no policy has it.
pub(super) const BASIC_ECX: u32 = bits(&[0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30]);
pub(super) const XSAVE: u32 = bits(&[26]);
pub(super) const OSXSAVE: u32 = bits(&[27]);
pub(super) const AVX: u32 = bits(&[28]);
/// Leaf 1, ECX: what needs XSAVE, itself included, and what needs AVX.
pub(super) const BASIC_ECX_XSAVE: u32 = bits(&[12, 26, 28, 29]);
pub(super) const BASIC_ECX_AVX: u32 = bits(&[12, 28, 29]);
pub(super) const SYSENTER: u32 = bits(&[11]);
pub(super) const HYPERVISOR: u32 = bits(&[31]);
/// Leaf 1, EDX, and leaf 0x80000001, ECX: how the numbers of cores are to be read. No guest has them by itself; the tools may set them.
pub(super) const HYPER_THREADING: u32 = bits(&[28]);
pub(super) const LEGACY_CORES: u32 = bits(&[1]);

/// Leaf 7, EBX: FSGSBASE BMI1 HLE AVX2 FDP_EXCP_ONLY BMI2 ERMS RTM NO_FPU_SEL AVX512F AVX512DQ RDSEED ADX AVX512_IFMA CLFLUSHOPT
/// CLWB AVX512PF AVX512ER AVX512CD SHA AVX512BW AVX512VL.
pub(super) const STRUCTURED_EBX: u32 =
    bits(&[0, 3, 4, 5, 6, 8, 9, 11, 13, 16, 17, 18, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31]);
pub(super) const AVX512F: u32 = bits(&[16]);
pub(super) const STRUCTURED_EBX_AVX: u32 = bits(&[5]);
pub(super) const STRUCTURED_EBX_AVX512: u32 = bits(&[16, 17, 21, 26, 27, 28, 30, 31]);
pub(super) const FSGSBASE: u32 = bits(&[0]);
pub(super) const SMAP: u32 = bits(&[20]);
/// Leaf 7, ECX: PREFETCHWT1 AVX512_VBMI AVX512_VBMI2 GFNI VAES VPCLMULQDQ AVX512_VNNI AVX512_BITALG AVX512_VPOPCNTDQ CLDEMOTE MOVDIRI
/// MOVDIR64B.
pub(super) const STRUCTURED_ECX: u32 = bits(&[0, 1, 6, 8, 9, 10, 11, 12, 14, 25, 27, 28]);
pub(super) const STRUCTURED_ECX_AVX: u32 = bits(&[9, 10]);
pub(super) const STRUCTURED_ECX_AVX512: u32 = bits(&[1, 6, 11, 12, 14]);
/// Leaf 7, EDX: AVX512_4VNNIW AVX512_4FMAPS FSRM AVX512_VP2INTERSECT MD_CLEAR SERIALIZE TSXLDTRK.
pub(super) const STRUCTURED_EDX: u32 = bits(&[2, 3, 4, 8, 10, 14, 16]);
pub(super) const STRUCTURED_EDX_AVX512: u32 = bits(&[2, 3, 8]);
/// Leaf 7 subleaf 1, EAX: AVX_VNNI AVX512_BF16 FZRM FSRS FSRCS.
pub(super) const STRUCTURED_1_EAX: u32 = bits(&[4, 5, 10, 11, 12]);
pub(super) const STRUCTURED_1_EAX_AVX: u32 = bits(&[4]);
pub(super) const STRUCTURED_1_EAX_AVX512: u32 = bits(&[5]);

/// Leaf 13 subleaf 1, EAX: XSAVEOPT XSAVEC XGETBV1.
pub(super) const XSAVE_EAX: u32 = bits(&[0, 1, 2]);

/// Leaf 0x80000001, EDX: SYSCALL NX MMXEXT LM 3DNOWEXT 3DNOW.
pub(super) const EXTENDED_EDX: u32 = bits(&[11, 20, 22, 29, 30, 31]);
/// The same leaf on AMD's: the bits of leaf 1 that it repeats there.
pub(super) const EXTENDED_EDX_REPEATED: u32 = BASIC_EDX & 0x0183_f3ff;
pub(super) const SYSCALL: u32 = bits(&[11]);
pub(super) const NO_EXECUTE: u32 = bits(&[20]);
/// Leaf 0x80000001, ECX: LAHF_LM ABM SSE4A MISALIGNSSE 3DNOWPREFETCH XOP FMA4 TBM.
pub(super) const EXTENDED_ECX: u32 = bits(&[0, 5, 6, 7, 8, 11, 16, 21]);
pub(super) const EXTENDED_ECX_AVX: u32 = bits(&[11, 16]);
/// Leaf 0x80000007, EDX: ITSC.
pub(super) const INVARIANT_TSC: u32 = bits(&[8]);
/// Leaf 0x80000008, EBX: CLZERO RSTR_FP_ERR_PTRS SSB_NO BTC_NO.
pub(super) const ADDRESS_EBX: u32 = bits(&[0, 2, 26, 29]);
/// Leaf 0x80000021, EAX: LFENCE_DISPATCH NSCB SRSO_NO.
pub(super) const EXTENDED_21_EAX: u32 = bits(&[2, 6, 29]);

/// What no guest has unless its configuration asks for it, by word of the feature set and bits there: what another processor of the same kind may lack
/// (HLE, AVX512_VP2INTERSECT, MOVDIRI, MOVDIR64B, TSXLDTRK), and ITSC, which a guest that is moved cannot rely on.
pub(super) const ON_DEMAND: [(usize, u32); 4] =
    [(5, bits(&[4])), (6, bits(&[27, 28])), (7, INVARIANT_TSC), (9, bits(&[8, 16]))];
