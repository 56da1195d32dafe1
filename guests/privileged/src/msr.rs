//! MSRs.

use kernel::cpuid::cpuid;
use kernel::memory::{initial_domain, page, poke};
use kernel::{attempt, check, check_eq, say};

use crate::{done, refused};

fn read(msr: u32) -> Result<u64, u64> {
    let (low, high): (u32, u32);
    let trap = attempt!("xor eax, eax", "xor edx, edx", "rdmsr"; in("ecx") msr, out("eax") low, out("edx") high);
    match trap {
        None => Ok(u64::from(high) << 32 | u64::from(low)),
        Some(trap) => Err(trap.frame.vector),
    }
}

fn write(msr: u32, value: u64) -> Option<kernel::trap::Trap> {
    attempt!("wrmsr"; in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32)
}

pub(crate) fn all() {
    let efer = read(0xc000_0080);
    check!(efer.is_ok_and(|efer| efer & 0xd01 == 0xd01), "EFER {efer:x?}: SCE, LME, LMA, NXE");
    if let Ok(efer) = efer {
        done("EFER unchanged", write(0xc000_0080, efer));
    }
    bases();
    capabilities();
    controls();
    for (msr, name) in [
        (0x1bu32, "APIC_BASE"),
        (0x10, "TSC"),
        (0x17, "PLATFORM_ID"),
        (0x8b, "UCODE_REV"),
        (0x174, "SYSENTER_CS"),
        (0x1a0, "MISC_ENABLE"),
        (0x277, "PAT"),
        (0xc000_0081, "STAR"),
        (0xc000_0082, "LSTAR"),
        (0xc000_0084, "SFMASK"),
        (0xc000_0103, "TSC_AUX"),
        (0xfe, "MTRRcap"),
        (0x3a, "FEATURE_CONTROL"),
        (0xce, "PLATFORM_INFO"),
        (0x140, "MISC_FEATURES"),
        (0x10a, "ARCH_CAPABILITIES"),
        (0x48, "SPEC_CTRL"),
        (0x1d9, "DEBUGCTL"),
        (0xc1, "PMC0"),
        (0x186, "PERFEVTSEL0"),
        (0x802, "x2APIC id"),
        (0xe1, "UMWAIT"),
        (0x6e0, "TSC_DEADLINE"),
        (0x4000_0000, "hypercall page"),
        (0xdead, "no MSR"),
    ] {
        say!("rdmsr {name}: {:x?}", read(msr));
    }
    check_eq!(read(0xdead_beef), Err(13), "a nonexistent MSR");
    refused("wrmsr to a nonexistent MSR", 13, write(0xdead_beef, 0));
    check_eq!(read(0x4800), Err(13), "a VMX MSR");
    if !initial_domain() {
        check_eq!(read(0x802), Err(13), "an x2APIC MSR");
    }
    // A write to the hypervisor's own entry points must have no effect: the next system call would
    // reveal it.
    for msr in [0xc000_0081u32, 0xc000_0082, 0xc000_0084, 0x174, 0x175, 0x176, 0x277, 0x1d9, 0x1b] {
        let trap = write(msr, 0);
        say!("wrmsr {msr:#x}: {:?}", trap.map(|trap| trap.frame.vector));
        check!(trap.is_none_or(|trap| trap.frame.vector == 13), "wrmsr {msr:#x}: {trap:x?}");
    }
    check_eq!(kernel::call!(kernel::call::number::XEN_VERSION, 0u32, 0u32), 4 << 16 | 17, "a hypercall after that");
}

/// ARCH_CAPABILITIES can be read if CPUID reports it, and not be written.
fn capabilities() {
    const ARCH_CAPABILITIES: u32 = 0x10a;
    let told = cpuid(7, 0)[3] >> 29 & 1 == 1;
    let found = read(ARCH_CAPABILITIES);
    say!("ARCH_CAPABILITIES: {found:x?}");
    check_eq!(found.is_ok(), told, "ARCH_CAPABILITIES exists as CPUID reports it");
    refused("ARCH_CAPABILITIES is read-only", 13, write(ARCH_CAPABILITIES, found.unwrap_or(0)));
}

/// SPEC_CTRL and PRED_CMD have the bits that CPUID reports.
fn controls() {
    const SPEC_CTRL: u32 = 0x48;
    const PRED_CMD: u32 = 0x49;
    let (intel, amd) = (cpuid(7, 0)[3], cpuid(0x8000_0008, 0)[1]);
    let has_ibrs = intel >> 26 & 1 == 1;
    let has_ssbd = intel >> 31 & 1 == 1 || amd >> 24 & 1 == 1;
    say!("controls in CPUID: {intel:x}, {amd:x}; SPEC_CTRL {:x?}", read(SPEC_CTRL));
    if has_ibrs {
        for value in [1u64, 2, 3, 0] {
            done("IBRS and STIBP", write(SPEC_CTRL, value));
            check_eq!(read(SPEC_CTRL), Ok(value), "SPEC_CTRL reads back");
        }
        if has_ssbd {
            done("SSBD", write(SPEC_CTRL, 4));
            check_eq!(read(SPEC_CTRL), Ok(4), "SSBD reads back");
            done("no SSBD", write(SPEC_CTRL, 0));
        } else {
            refused("SSBD without its feature", 13, write(SPEC_CTRL, 4));
        }
        check_eq!(read(SPEC_CTRL), Ok(0), "SPEC_CTRL at the end");
    } else if amd & (1 << 14 | 1 << 15 | 1 << 24 | 1 << 28) == 0 {
        check_eq!(read(SPEC_CTRL), Err(13), "SPEC_CTRL without its features");
        refused("SPEC_CTRL without its features", 13, write(SPEC_CTRL, 0));
    }
    refused("a reserved bit of SPEC_CTRL", 13, write(SPEC_CTRL, 1 << 63));
    check_eq!(read(PRED_CMD), Err(13), "PRED_CMD is a command");
    if has_ibrs || amd >> 12 & 1 == 1 {
        done("IBPB", write(PRED_CMD, 1));
        done("no command", write(PRED_CMD, 0));
    } else {
        refused("IBPB without its feature", 13, write(PRED_CMD, 1));
    }
    refused("a reserved bit of PRED_CMD", 13, write(PRED_CMD, 2));
}

/// The guest may set FS and GS bases by MSR.
fn bases() {
    let cell = page();
    poke(cell, [0x7788u64, 0x99aa]);
    done("FS_BASE", write(0xc000_0100, cell));
    done("GS_BASE", write(0xc000_0101, cell + 8));
    let (fs, gs): (u64, u64);
    // SAFETY: reads the cell.
    unsafe { core::arch::asm!("mov {}, fs:[0]", "mov {}, gs:[0]", out(reg) fs, out(reg) gs) };
    check_eq!((fs, gs), (0x7788, 0x99aa), "through FS and GS");
    check_eq!((read(0xc000_0100), read(0xc000_0101)), (Ok(cell), Ok(cell + 8)), "FS_BASE and GS_BASE read back");
    done("KERNEL_GS_BASE", write(0xc000_0102, 0x1000));
    check_eq!(read(0xc000_0102), Ok(0x1000), "KERNEL_GS_BASE reads back");
    for msr in [0xc000_0100u32, 0xc000_0101, 0xc000_0102] {
        refused("a base that is not canonical", 13, write(msr, 0x0000_8000_0000_0000));
        done("a base of zero", write(msr, 0));
    }
}
