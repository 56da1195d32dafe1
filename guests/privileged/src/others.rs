//! Other instructions: flags, ports, descriptor tables, caches, virtualisation.

use kernel::call::number;
use kernel::cpuid::cpuid;
use kernel::memory::{initial_domain, page, poke, vcpu_info};
use kernel::{attempt, call, check, check_eq, say};

use crate::{done, either, refused};

pub(crate) fn all() {
    flags();
    ports();
    tables();
    caches();
    counters();
    invalid();
    far();
}

fn flags() {
    let info = vcpu_info(0);
    refused("cli", 13, attempt!("cli"));
    refused("sti", 13, attempt!("sti"));
    check_eq!(info.mask(), 1, "the event mask is unchanged");
    let trap = attempt!("hlt");
    check!(trap.is_some_and(|trap| trap.frame.vector == 13), "hlt: {trap:x?}");
    // POPF does not change IF and IOPL.
    let seen: u64;
    // SAFETY: IF and IOPL cannot be changed in ring 3.
    unsafe { core::arch::asm!("push 0x3002", "popfq", "pushfq", "pop {}", out(reg) seen) };
    check_eq!(seen & 0x3200, 0x200, "flags after popf");
}

fn ports() {
    let read = |port: u16| attempt!("in al, dx"; in("dx") port, out("al") _);
    let set_iopl = |level: u32| {
        let argument = [level, 0];
        check_eq!(call!(number::PHYSDEV_OP, 6u32, &argument), 0, "set_iopl {level}");
    };
    if initial_domain() {
        // The hardware domain may access ports; the CMOS clock is harmless.
        set_iopl(1);
        done("in, initial domain", read(0x71));
        set_iopl(0);
        return;
    }
    for port in [0x20u16, 0x3f8, 0x60, 0x70, 0xcf8, 0x80, 0x501, 0xffff] {
        refused("in without IOPL", 13, read(port));
        refused("out without IOPL", 13, attempt!("out dx, al"; in("dx") port, in("al") 0u8));
    }
    refused("insb", 13, attempt!("insb"; in("dx") 0x60u16, inout("rdi") page() => _));
    refused("outsb", 13, attempt!("outsb"; in("dx") 0x60u16, inout("rsi") page() => _));
    // With IOPL, ports that the guest does not own read as ones, and writes are ignored.
    set_iopl(1);
    for port in [0x20u16, 0x3f8, 0xcf8, 0xffff] {
        let value: u8;
        let trap = attempt!("in al, dx"; in("dx") port, inout("al") 0u8 => value);
        check!(trap.is_none() && value == 0xff, "in from port {port:#x}: {value:#x} {trap:x?}");
        done("out with IOPL", attempt!("out dx, al"; in("dx") port, in("al") 0u8));
    }
    done("cli with IOPL", attempt!("cli"));
    done("sti with IOPL", attempt!("sti"));
    check_eq!(vcpu_info(0).mask(), 1, "the event mask is unchanged");
    set_iopl(0);
    refused("in without IOPL again", 13, read(0x60));
}

fn tables() {
    let cell = page();
    refused("lgdt", 13, attempt!("lgdt [{at}]"; at = in(reg) cell));
    refused("lidt", 13, attempt!("lidt [{at}]"; at = in(reg) cell));
    refused("lldt", 13, attempt!("lldt {value:x}"; value = in(reg) 0u64));
    refused("ltr", 13, attempt!("ltr {value:x}"; value = in(reg) 8u64));
    // Without UMIP these are executed, with it they are refused. Their results are not
    // confidential.
    for (name, trap) in [
        ("sgdt", attempt!("sgdt [{at}]"; at = in(reg) cell)),
        ("sidt", attempt!("sidt [{at}]"; at = in(reg) cell)),
        ("sldt", attempt!("sldt {value:x}"; value = out(reg) _)),
        ("str", attempt!("str {value:x}"; value = out(reg) _)),
    ] {
        check!(trap.is_none_or(|trap| trap.frame.vector == 13), "{name}: {trap:x?}");
    }
    either("invlpg", attempt!("invlpg [{at}]"; at = in(reg) cell));
    refused("swapgs", 13, attempt!("swapgs"));
    iret_to_ring_0();
}

fn iret_to_ring_0() {
    let before = kernel::trap::count();
    // SAFETY: the trap resumes at the label, where the stack pointer is restored.
    unsafe {
        core::arch::asm!(
            "lea rax, [rip + 3f]",
            "mov [{slot}], rax",
            "mov rcx, rsp",
            "push 0",
            "push rcx",
            "pushfq",
            "push 0xe008",
            "push rax",
            "iretq",
            "3:",
            "mov rsp, rcx",
            slot = in(reg) kernel::trap::resume_slot(),
            out("rax") _,
            out("rcx") _,
        );
    }
    let trap = kernel::trap::taken(before);
    check!(trap.is_some_and(|trap| trap.frame.vector == 13 && trap.frame.error == 0xe008), "iret to ring 0: {trap:x?}");
}

fn caches() {
    // Executed for a guest that may need it, ignored for others.
    done("wbinvd", attempt!("wbinvd"));
    either("invd", attempt!("invd"));
}

fn counters() {
    done("rdtsc", attempt!("rdtsc"; out("eax") _, out("edx") _));
    let trap = attempt!("rdpmc"; in("ecx") 0, out("eax") _, out("edx") _);
    say!("rdpmc: {:?}", trap.map(|trap| trap.frame.vector));
    check!(trap.is_none_or(|trap| matches!(trap.frame.vector, 6 | 13)), "rdpmc: {trap:x?}");
    let rdtscp = cpuid(0x8000_0001, 0)[3] >> 27 & 1 == 1;
    let trap = attempt!("rdtscp"; out("eax") _, out("ecx") _, out("edx") _);
    check!(!rdtscp || trap.is_none(), "rdtscp, shown: {trap:x?}");
    // FSGSBASE, where it is shown, is on.
    if cpuid(7, 0)[1] & 1 == 1 {
        let cell = page();
        poke(cell, 0x4242u64);
        let value: u64;
        // The guest enables the instructions.
        either("CR4.FSGSBASE", attempt!("mov {cr4}, cr4", "bts {cr4}, 16", "mov cr4, {cr4}"; cr4 = out(reg) _));
        let trap = attempt!("wrfsbase {at}", "mov {value}, fs:[0]"; at = in(reg) cell, value = out(reg) value);
        say!("wrfsbase: {:?}", trap.map(|trap| trap.frame.vector));
        check!(trap.is_none_or(|trap| trap.frame.vector == 6), "wrfsbase: {trap:x?}");
        check!(trap.is_some() || value == 0x4242, "through FS: {value:#x}");
        let _ = call!(number::SET_SEGMENT_BASE, 0u32, 0u64);
    }
}

fn invalid() {
    refused("vmcall", 6, attempt!("vmcall"));
    refused("vmmcall", 6, attempt!("vmmcall"));
    refused("vmxon", 6, attempt!("vmxon [{at}]"; at = in(reg) page()));
    refused("vmrun", 6, attempt!("vmrun"));
    refused("rsm", 6, attempt!("rsm"));
    refused("getsec", 6, attempt!("getsec"; in("eax") 0));
    for (name, trap) in [
        ("monitor", attempt!("monitor"; in("rax") page(), in("ecx") 0, in("edx") 0)),
        ("mwait", attempt!("mwait"; in("eax") 0, in("ecx") 0)),
        ("sysret", attempt!("sysretq"; inout("rcx") 0x10_0000u64 => _)),
        ("sysexit", attempt!("sysexit")),
    ] {
        check!(trap.is_some_and(|trap| matches!(trap.frame.vector, 6 | 13)), "{name}: {trap:x?}");
    }
}

/// Far transfers inside ring 3 are not privileged.
fn far() {
    let done: u64;
    // SAFETY: returns to the label that follows.
    unsafe {
        core::arch::asm!(
            "push 0xe033",
            "lea {done}, [rip + 2f]",
            "push {done}",
            "retfq",
            "2:",
            "mov {done}, 5",
            done = out(reg) done,
        );
    }
    check_eq!(done, 5, "far return");
    let limit: u32;
    // SAFETY: reads the limit of a descriptor.
    unsafe { core::arch::asm!("lsl {0:e}, {1:e}", out(reg) limit, in(reg) 0xe033) };
    check_eq!(limit, u32::MAX, "lsl of the code segment");
}
