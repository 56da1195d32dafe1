//! CR4.FSGSBASE and CR4.TSD.

use core::arch::asm;

use kernel::call::number;
use kernel::{attempt, call, check, check_eq, say};

use crate::process::{Process, RDFSBASE, RDGSBASE, RDTSC, RDTSCP, WRFSBASE, WRGSBASE};

const TSD: u64 = 1 << 2;
const FSGSBASE: u64 = 1 << 16;
const INVALID_OPCODE: u64 = 6;
const PROTECTION_FAULT: u64 = 13;
const BREAKPOINT: u64 = 3;

fn read() -> u64 {
    let value: u64;
    // SAFETY: an emulated read.
    unsafe { asm!("mov {}, cr4", out(reg) value) };
    value
}

fn write(value: u64) {
    // SAFETY: changes only the tested bits.
    unsafe { asm!("mov cr4, {}", in(reg) value) };
}

/// EBX of CPUID leaf 7, with the prefix.
fn has_fsgsbase() -> bool {
    let features: u32;
    // SAFETY: changes only the four registers.
    unsafe {
        asm!("push rbx", ".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e", "cpuid", "mov {0:e}, ebx", "pop rbx",
             out(reg) features, inout("eax") 7 => _, inout("ecx") 0 => _, out("edx") _);
    }
    features & 1 != 0
}

pub(crate) fn at_start() {
    check_eq!(read() & (TSD | FSGSBASE), 0, "a vCPU starts without TSD and FSGSBASE");
}

pub(crate) fn fsgsbase(process: &Process) {
    if !has_fsgsbase() {
        say!("no FSGSBASE");
        write(read() | FSGSBASE);
        check_eq!(read() & FSGSBASE, 0, "a hidden feature cannot be enabled");
        return;
    }
    let all = [RDGSBASE, WRGSBASE, RDFSBASE, WRFSBASE];
    let each = |due: u64, when: &str| {
        for offset in all {
            check_eq!(process.vector(offset), due, "instruction {offset:#x} of a process, FSGSBASE {when}");
        }
        let trap = attempt!("rdfsbase {value}"; value = out(reg) _);
        let vector = trap.map_or(BREAKPOINT, |trap| trap.frame.vector);
        check_eq!(vector, due, "rdfsbase of the kernel, FSGSBASE {when}");
    };
    each(INVALID_OPCODE, "off");
    write(read() | FSGSBASE);
    check_eq!(read() & FSGSBASE, FSGSBASE, "FSGSBASE reads back");
    each(BREAKPOINT, "on");
    for (write, read) in [(WRGSBASE, RDGSBASE), (WRFSBASE, RDFSBASE)] {
        let _ = process.run(write, |frame| frame.rdi = 0x1234_5000);
        check_eq!(process.run(read, |_| ()).frame.rax, 0x1234_5000, "a base that a process has set");
    }
    write(read() & !FSGSBASE);
    each(INVALID_OPCODE, "off again");
    for segment in [0u32, 1] {
        check_eq!(call!(number::SET_SEGMENT_BASE, segment, 0u64), 0, "the base as before");
    }
}

pub(crate) fn tsd(process: &Process) {
    let rdtscp = process.vector(RDTSCP);
    check!(matches!(rdtscp, BREAKPOINT | INVALID_OPCODE), "rdtscp of a process: {rdtscp}");
    check_eq!(process.vector(RDTSC), BREAKPOINT, "rdtsc of a process, TSD off");
    write(read() | TSD);
    check_eq!(read() & TSD, TSD, "TSD reads back");
    let trap = process.run(RDTSC, |_| ());
    check_eq!((trap.frame.vector, trap.frame.error), (PROTECTION_FAULT, 0), "rdtsc of a process, TSD on");
    if rdtscp == BREAKPOINT {
        check_eq!(process.vector(RDTSCP), PROTECTION_FAULT, "rdtscp of a process, TSD on");
        let trap = attempt!("rdtscp"; out("eax") _, out("ecx") _, out("edx") _);
        check!(trap.is_none(), "rdtscp of the kernel, TSD on: {trap:x?}");
    }
    // The kernel can still read the counter, which is the same.
    let (first, second) = (counter(), counter());
    write(read() & !TSD);
    let third = counter();
    check!(first < second && second < third, "rdtsc of the kernel: {first} {second} {third}");
    check!(third - first < 1 << 36, "rdtsc of the kernel: {first} {second} {third}");
    check_eq!(process.vector(RDTSC), BREAKPOINT, "rdtsc of a process, TSD off again");
}

fn counter() -> u64 {
    let (low, high): (u64, u64);
    let trap = attempt!("rdtsc"; out("rax") low, out("rdx") high);
    check!(trap.is_none(), "rdtsc of the kernel: {trap:x?}");
    high << 32 | low
}

/// Enables or disables both.
pub(crate) fn choose(on: bool) {
    let bits = TSD | FSGSBASE;
    write(if on { read() | bits } else { read() & !bits });
}

pub(crate) fn check_choice(process: &Process, on: bool) {
    check_eq!(read() & TSD != 0, on, "TSD reads back after others have run");
    check_eq!(process.vector(RDTSC), if on { PROTECTION_FAULT } else { BREAKPOINT }, "rdtsc of a process, TSD {on}");
    if has_fsgsbase() {
        let due = if on { BREAKPOINT } else { INVALID_OPCODE };
        check_eq!(process.vector(RDGSBASE), due, "rdgsbase of a process, FSGSBASE {on}");
    }
}
