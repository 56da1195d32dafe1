//! CPUID with the emulation prefix: as the hypervisor shows it.

use core::arch::asm;

/// EAX, EBX, ECX and EDX of a leaf.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let (eax, ebx, ecx, edx);
    // SAFETY: changes the four registers only.
    unsafe {
        asm!(
            "push rbx",
            ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e",
            "cpuid",
            "mov {0:e}, ebx",
            "pop rbx",
            out(reg) ebx,
            inlateout("eax") leaf => eax,
            inlateout("ecx") subleaf => ecx,
            out("edx") edx,
        );
    }
    [eax, ebx, ecx, edx]
}
