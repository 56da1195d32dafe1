//! Control and debug registers.

use core::arch::asm;

use kernel::memory::{page, vcpu_info};
use kernel::{attempt, check, check_eq, say};

use crate::{done, refused};

macro_rules! get {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: an emulated read.
        unsafe { asm!(concat!("mov {}, ", $register), out(reg) value) };
        value
    }};
}

macro_rules! set {
    ($register:literal, $value:expr) => {
        attempt!(concat!("mov ", $register, ", {value}"); value = in(reg) $value)
    };
}

pub(crate) fn all() {
    cr0();
    cr2();
    cr4();
    debug();
}

fn cr0() {
    let value = get!("cr0");
    check_eq!(value & 0x8005_0033, 0x8005_0033, "CR0 {value:#x}: PE, MP, ET, NE, WP, AM, PG");
    done("CR0 unchanged", set!("cr0", value));
    done("CR0 with TS", set!("cr0", value | 8));
    check_eq!(get!("cr0"), value | 8, "TS");
    done("clts", attempt!("clts"));
    check_eq!(get!("cr0"), value, "TS is clear");
    for (bit, name) in [(16, "WP"), (31, "PG"), (0, "PE"), (30, "CD")] {
        let trap = set!("cr0", value ^ 1 << bit);
        say!("CR0 with {name} inverted: {:?}", trap.map(|trap| trap.frame.vector));
        check!(trap.is_none_or(|trap| trap.frame.vector == 13), "CR0 with {name} inverted: {trap:x?}");
        check_eq!(get!("cr0"), value, "CR0 after {name} was inverted");
    }
    let trap = attempt!("lmsw {value:x}"; value = in(reg) 0x3bu64);
    say!("lmsw: {:?}, CR0 {:#x}", trap.map(|trap| trap.frame.vector), get!("cr0"));
    let _ = attempt!("clts");
    check!(attempt!("smsw {value:r}"; value = out(reg) _).is_none(), "smsw");
}

fn cr2() {
    let _ = attempt!("mov al, [{at}]"; at = in(reg) 0x10_0005u64, out("al") _);
    check_eq!(get!("cr2"), 0x10_0005, "CR2 is the address of the last fault");
    done("write to CR2", set!("cr2", 0x1234u64));
    check_eq!((get!("cr2"), vcpu_info(0).cr2()), (0x1234, 0x1234), "CR2 is the field of vcpu_info");
}

fn cr4() {
    let value = get!("cr4");
    check_eq!(value & 0x620, 0x620, "CR4 {value:#x}: PAE, OSFXSR, OSXMMEXCPT");
    check_eq!(value & 0x2000, 0, "CR4 {value:#x}: VMXE");
    say!("CR4 {value:#x}");
    done("CR4 unchanged", set!("cr4", value));
    for (bit, name) in [(5, "PAE"), (13, "VMXE"), (20, "SMEP"), (21, "SMAP"), (40, "a reserved bit")] {
        let trap = set!("cr4", value ^ 1 << bit);
        say!("CR4 with {name} inverted: {:?}", trap.map(|trap| trap.frame.vector));
        check!(trap.is_none_or(|trap| trap.frame.vector == 13), "CR4 with {name} inverted: {trap:x?}");
        check_eq!(get!("cr4"), value, "CR4 after {name} was inverted");
    }
    // TSD makes RDTSC trap in user mode; the guest may also choose DE.
    for bit in [2, 3] {
        done("CR4, TSD or DE", set!("cr4", value ^ 1 << bit));
        check_eq!(get!("cr4"), value ^ 1 << bit, "CR4 bit {bit}");
        done("CR4 restored", set!("cr4", value));
    }
    refused("CR8", 13, attempt!("mov {value}, cr8"; value = out(reg) _));
    let trap = attempt!("mov {value}, cr1"; value = out(reg) _);
    check!(trap.is_some_and(|trap| matches!(trap.frame.vector, 6 | 13)), "CR1: {trap:x?}");
}

fn debug() {
    let cell = page();
    done("DR0", set!("dr0", cell));
    check_eq!(get!("dr0"), cell, "DR0");
    refused("DR0 in the hypervisor", 13, set!("dr0", 0xffff_8300_0000_0000u64));
    check_eq!(get!("dr0"), cell, "DR0 as before");
    done("DR0", set!("dr0", 0u64));
    check_eq!(get!("dr7"), 0x400, "DR7 after reset");
    done("DR7", set!("dr7", 0x401u64));
    check_eq!(get!("dr7"), 0x401, "DR7");
    done("DR7", set!("dr7", 0x400u64));
    // General detect, and I/O breakpoints without DE, are not available.
    let trap = set!("dr7", 0x2400u64);
    say!("DR7 with GD: {:?}, {:#x}", trap.map(|trap| trap.frame.vector), get!("dr7"));
    check_eq!(get!("dr7") & 0x2000, 0, "DR7 without GD");
    done("DR6", set!("dr6", 0xffff_0ff0u64));
    check_eq!(get!("dr6") & 0xf, 0, "DR6");
}
