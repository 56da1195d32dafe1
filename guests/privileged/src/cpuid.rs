//! CPUID with the emulation prefix.

use core::arch::asm;

use kernel::cpuid::cpuid;
use kernel::memory::initial_domain;
use kernel::{attempt, check, check_eq, say};

use crate::refused;

pub(crate) fn all() {
    let [highest, b, c, d] = cpuid(0, 0);
    check!(highest >= 7, "highest leaf {highest:#x}");
    let vendor = [b.to_le_bytes(), d.to_le_bytes(), c.to_le_bytes()];
    check!(matches!(vendor.as_flattened(), b"GenuineIntel" | b"AuthenticAMD" | b"HygonGenuine"), "vendor {vendor:x?}");
    features();
    hypervisor_leaves();
    // The upper halves of the registers are cleared; other registers are unchanged.
    let (rax, rdx): (u64, u64);
    // SAFETY: changes only the four registers.
    unsafe {
        asm!(
            "push rbx",
            ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e",
            "cpuid",
            "pop rbx",
            inlateout("rax") 0xffff_ffff_0000_0000u64 => rax,
            inlateout("rcx") 0u64 => _,
            inlateout("rdx") u64::MAX => rdx,
        );
    }
    check!(rax >> 32 == 0 && rdx >> 32 == 0, "upper halves {rax:x} {rdx:x}");
    // The prefix before any other instruction is an invalid opcode.
    refused("prefix and nop", 6, attempt!(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x90"));
    refused("half a prefix", 6, attempt!(".byte 0x0f, 0x0b, 0x78, 0x65", "nop"));
}

fn features() {
    let [_, b, c, d] = cpuid(1, 0);
    let (has_c, has_d) = (|bit: u32| c >> bit & 1 == 1, |bit: u32| d >> bit & 1 == 1);
    for (bit, name) in [
        (0, "FPU"),
        (4, "TSC"),
        (5, "MSR"),
        (6, "PAE"),
        (8, "CX8"),
        (15, "CMOV"),
        (24, "FXSR"),
        (25, "SSE"),
        (26, "SSE2"),
    ] {
        check!(has_d(bit), "{name} is shown");
    }
    check!(has_c(31), "the hypervisor bit");
    for (bit, name) in [(2, "DTES64"), (5, "VMX"), (6, "SMX"), (15, "PDCM"), (18, "DCA"), (24, "TSC deadline")] {
        check!(!has_c(bit), "{name} is hidden");
    }
    // Features that a guest cannot use: VME, PSE (large pages); global pages belong to the
    // hypervisor.
    for (bit, name) in [(1, "VME"), (3, "PSE"), (13, "PGE"), (12, "MTRR"), (17, "PSE36")] {
        say!("leaf 1 EDX bit {bit} ({name}): {}", has_d(bit));
    }
    say!("leaf 1: {b:#x} {c:#x} {d:#x}, initial domain: {}", initial_domain());
    let [_, b, c, d] = cpuid(7, 0);
    for (bit, name) in [(7, "SMEP"), (20, "SMAP"), (10, "INVPCID")] {
        check!(b >> bit & 1 == 0, "{name} is hidden");
    }
    for (bit, name) in [(2, "UMIP"), (3, "PKU")] {
        check!(c >> bit & 1 == 0, "{name} is hidden");
    }
    say!("leaf 7: {b:#x} {c:#x} {d:#x}");
    let [_, _, c, d] = cpuid(0x8000_0001, 0);
    for (bit, name) in [(11, "SYSCALL"), (20, "NX"), (29, "long mode")] {
        check!(d >> bit & 1 == 1, "{name} is shown");
    }
    for (bit, name) in [(2, "SVM"), (3, "extended APIC space"), (10, "IBS")] {
        check!(c >> bit & 1 == 0, "{name} is hidden");
    }
    check!(d >> 26 & 1 == 0, "pages of 1 GiB are hidden");
    say!("leaf 0x80000001: {c:#x} {d:#x}");
    let [a, ..] = cpuid(0x8000_0008, 0);
    check!((32..=52).contains(&(a & 0xff)), "physical address bits {}", a & 0xff);
    check_eq!(a >> 8 & 0xff, 48, "linear address bits");
}

fn hypervisor_leaves() {
    let [highest, b, c, d] = cpuid(0x4000_0000, 0);
    check!((0x4000_0002..=0x4000_00ff).contains(&highest), "highest leaf of the hypervisor {highest:#x}");
    check_eq!([b, c, d], [0x566e_6558, 0x6558_4d4d, 0x4d4d_566e], "XenVMMXenVMM");
    check_eq!(cpuid(0x4000_0001, 0), [4 << 16 | 17, 0, 0, 0], "version");
    let [pages, base, features, _] = cpuid(0x4000_0002, 0);
    check_eq!(pages, 1, "hypercall pages");
    check_eq!(base & 0xffff_0000, 0x4000_0000, "MSR for the hypercall page");
    check_eq!(features & 1, 1, "PRESERVE_AD");
    let [flags, ..] = cpuid(0x4000_0003, 0);
    check_eq!(flags & !0x7, 0, "time flags {flags:#x}");
}
