//! For each feature in CPUID, executes an instruction that needs it: none may be an invalid opcode.

use kernel::cpuid::cpuid;
use kernel::memory::page;
use kernel::trap::Trap;
use kernel::{attempt, check, check_eq, say};

/// A feature: leaf, subleaf, register (0 for EAX), bit, name, and an instruction, which gets an
/// aligned address.
type Feature = (u32, u32, usize, u32, &'static str, fn(u64) -> Option<Trap>);

macro_rules! features {
    ($($leaf:literal $subleaf:literal $register:ident $bit:literal $name:literal: $($line:literal),+;)+) => {
        const FEATURES: &[Feature] = &[$(
            ($leaf, $subleaf, $register, $bit, $name, |place| attempt!($($line),+;
                in("rdi") place, inout("rax") 0u64 => _, inout("rcx") 0u64 => _, inout("rdx") 0u64 => _, inout("rsi") place => _)),
        )+];
    };
}

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

features! {
    1 0 EDX 8 "CX8": "cmpxchg8b [rdi]";
    1 0 EDX 15 "CMOV": "cmovz eax, ecx";
    1 0 EDX 19 "CLFLUSH": "clflush [rdi]";
    1 0 EDX 23 "MMX": "pxor mm0, mm0", "emms";
    1 0 EDX 24 "FXSR": "fxsave [rdi]";
    1 0 EDX 25 "SSE": "xorps xmm0, xmm0";
    1 0 EDX 26 "SSE2": "pxor xmm0, xmm0";
    1 0 ECX 0 "SSE3": "haddps xmm0, xmm0";
    1 0 ECX 1 "PCLMULQDQ": "pclmulqdq xmm0, xmm0, 0";
    1 0 ECX 9 "SSSE3": "pabsb xmm0, xmm0";
    1 0 ECX 12 "FMA": "vfmadd132ps xmm0, xmm0, xmm0";
    1 0 ECX 13 "CX16": "push rbx", "xor ebx, ebx", "cmpxchg16b [rdi]", "pop rbx";
    1 0 ECX 19 "SSE4_1": "ptest xmm0, xmm0";
    1 0 ECX 20 "SSE4_2": "pcmpgtq xmm0, xmm0";
    1 0 ECX 22 "MOVBE": "movbe eax, [rdi]";
    1 0 ECX 23 "POPCNT": "popcnt eax, ecx";
    1 0 ECX 25 "AESNI": "aesenc xmm0, xmm0";
    1 0 ECX 28 "AVX": "vxorps ymm0, ymm0, ymm0";
    1 0 ECX 29 "F16C": "vcvtph2ps xmm0, xmm0";
    1 0 ECX 30 "RDRAND": "rdrand eax";
    7 0 EBX 3 "BMI1": "andn eax, ecx, edx";
    7 0 EBX 5 "AVX2": "vpxor ymm0, ymm0, ymm0";
    7 0 EBX 8 "BMI2": "pdep eax, ecx, edx";
    7 0 EBX 11 "RTM": "xtest";
    7 0 EBX 16 "AVX512F": "vpxord zmm0, zmm0, zmm0";
    7 0 EBX 17 "AVX512DQ": "vxorps zmm0, zmm0, zmm0";
    7 0 EBX 18 "RDSEED": "rdseed eax";
    7 0 EBX 19 "ADX": "adcx eax, ecx";
    7 0 EBX 21 "AVX512_IFMA": "vpmadd52luq zmm0, zmm0, zmm0";
    7 0 EBX 23 "CLFLUSHOPT": "clflushopt [rdi]";
    7 0 EBX 24 "CLWB": "clwb [rdi]";
    7 0 EBX 26 "AVX512PF": ".byte 0x62, 0xf2, 0x7d, 0x49, 0xc6, 0x0c, 0x07";
    7 0 EBX 27 "AVX512ER": "vexp2ps zmm0, zmm0";
    7 0 EBX 28 "AVX512CD": "vpconflictd zmm0, zmm0";
    7 0 EBX 29 "SHA": "sha1msg1 xmm0, xmm0";
    7 0 EBX 30 "AVX512BW": "vpaddb zmm0, zmm0, zmm0";
    7 0 EBX 31 "AVX512VL": "vpxord ymm0, ymm0, ymm0";
    7 0 ECX 0 "PREFETCHWT1": "prefetchwt1 [rdi]";
    7 0 ECX 1 "AVX512_VBMI": "vpermb zmm0, zmm0, zmm0";
    7 0 ECX 6 "AVX512_VBMI2": "vpcompressb zmm0, zmm0";
    7 0 ECX 8 "GFNI": "gf2p8mulb xmm0, xmm0";
    7 0 ECX 9 "VAES": "vaesenc ymm0, ymm0, ymm0";
    7 0 ECX 10 "VPCLMULQDQ": "vpclmulqdq ymm0, ymm0, ymm0, 0";
    7 0 ECX 11 "AVX512_VNNI": "vpdpbusd zmm0, zmm0, zmm0";
    7 0 ECX 12 "AVX512_BITALG": "vpopcntb zmm0, zmm0";
    7 0 ECX 14 "AVX512_VPOPCNTDQ": "vpopcntd zmm0, zmm0";
    7 0 ECX 25 "CLDEMOTE": "cldemote [rdi]";
    7 0 ECX 27 "MOVDIRI": "movdiri [rdi], eax";
    7 0 ECX 28 "MOVDIR64B": "movdir64b rdi, [rsi]";
    7 0 EDX 2 "AVX512_4VNNIW": ".byte 0x62, 0xf2, 0x7f, 0x48, 0x52, 0x07";
    7 0 EDX 3 "AVX512_4FMAPS": ".byte 0x62, 0xf2, 0x7f, 0x48, 0x9a, 0x07";
    7 0 EDX 8 "AVX512_VP2INTERSECT": "vp2intersectd k0, zmm0, zmm0";
    7 0 EDX 14 "SERIALIZE": "serialize";
    7 0 EDX 16 "TSXLDTRK": "xsusldtrk", "xresldtrk";
    7 1 EAX 4 "AVX_VNNI": ".byte 0xc4, 0xe2, 0x79, 0x50, 0xc0";
    7 1 EAX 5 "AVX512_BF16": "vcvtneps2bf16 ymm0, zmm0";
    0xd 1 EAX 0 "XSAVEOPT": "xsaveopt [rdi]";
    0xd 1 EAX 1 "XSAVEC": "xsavec [rdi]";
    0xd 1 EAX 2 "XGETBV1": "mov ecx, 1", "xgetbv";
    0x8000_0001 0 EDX 22 "MMXEXT": "pavgb mm0, mm0", "emms";
    0x8000_0001 0 EDX 30 "3DNOWEXT": ".byte 0x0f, 0x0f, 0xc0, 0xbb", "emms";
    0x8000_0001 0 EDX 31 "3DNOW": ".byte 0x0f, 0x0f, 0xc0, 0x9e", "emms";
    0x8000_0001 0 ECX 0 "LAHF_LM": "lahf";
    0x8000_0001 0 ECX 5 "ABM": "lzcnt eax, ecx";
    0x8000_0001 0 ECX 6 "SSE4A": "extrq xmm0, xmm0";
    0x8000_0001 0 ECX 8 "3DNOWPREFETCH": "prefetchw [rdi]";
    0x8000_0001 0 ECX 11 "XOP": "vphaddbw xmm0, xmm0";
    0x8000_0001 0 ECX 16 "FMA4": "vfmaddps xmm0, xmm0, xmm0, xmm0";
    0x8000_0001 0 ECX 21 "TBM": "blsfill eax, ecx";
    0x8000_0008 0 EBX 0 "CLZERO": "mov rax, rdi", ".byte 0x0f, 0x01, 0xfc";
}

/// Switches on the extended states that there are.
fn enable_states() {
    if cpuid(1, 0)[ECX] >> 26 & 1 == 0 {
        return;
    }
    let states = cpuid(0xd, 0)[EAX];
    let trap = attempt!("mov {cr4}, cr4", "bts {cr4}, 18", "mov cr4, {cr4}", "xsetbv"; cr4 = out(reg) _, in("ecx") 0, in("eax") states, in("edx") 0);
    check!(trap.is_none(), "XCR0 to {states:#x}: {trap:x?}");
}

pub(crate) fn instructions() {
    enable_states();
    let place = page();
    let mut executed = 0;
    for &(leaf, subleaf, register, bit, name, instruction) in FEATURES {
        let highest = cpuid(leaf & 0x8000_0000, 0)[EAX];
        if leaf > highest || cpuid(leaf, subleaf)[register] >> bit & 1 == 0 {
            continue;
        }
        let trap = instruction(place);
        check_eq!(trap.map(|trap| trap.frame.vector), None, "{name}, which is shown");
        executed += 1;
    }
    check!(executed > 10, "features whose instructions were executed: {executed}");
    say!("features whose instructions were executed: {executed} of {}", FEATURES.len());
}
