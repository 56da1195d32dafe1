//! Breakpoints on memory and ports, and DR6.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::call::number;
use kernel::memory::{initial_domain, page, poke};
use kernel::start::{MAX_VCPUS, vcpu};
use kernel::user::BASE;
use kernel::{attempt, call, check, check_eq, say};

use crate::process::{IN, Process};

const DEBUG: u64 = 1;
/// CR4.DE.
const DEBUG_EXTENSIONS: u64 = 8;
const STATUS_AT_REST: u64 = 0xffff_0ff0;
/// Breakpoint 0: four bytes, for writes; two ports.
const WRITES: u64 = 0x000d_0401;
const PORTS: u64 = 0x0006_0401;
const OFF: u64 = 0x400;
/// The diagnostic port, which is harmless to read.
const PORT: u64 = 0x80;

/// The page that each vCPU watches.
static WATCHED: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

fn set(register: u32, value: u64) {
    check_eq!(call!(number::SET_DEBUGREG, register, value), 0, "set_debugreg {register} to {value:#x}");
}

fn get(register: u32) -> u64 {
    call!(number::GET_DEBUGREG, register) as u64
}

fn set_debug_extensions(on: bool) {
    let wanted = if on { DEBUG_EXTENSIONS } else { 0 };
    // SAFETY: changes only the tested bit.
    unsafe {
        asm!("mov {cr4}, cr4", "and {cr4}, ~{bit}", "or {cr4}, {wanted}", "mov cr4, {cr4}",
             cr4 = out(reg) _, bit = const DEBUG_EXTENSIONS, wanted = in(reg) wanted);
    }
}

pub(crate) fn all(process: &Process) {
    names();
    ports(process);
    copies();
}

/// Registers 4 and 5 are aliases of 6 and 7 while CR4.DE is clear, also as operands of
/// instructions.
fn names() {
    set_debug_extensions(false);
    check_eq!((get(4), get(5)), (STATUS_AT_REST, OFF), "debug registers 4 and 5 without DE");
    set(5, 0x404);
    check_eq!(get(7), 0x404, "7 by its alias 5");
    set(5, OFF);
    let value: u64;
    let trap = attempt!(".byte 0x0f, 0x21, 0xe8"; out("rax") value);
    check!(trap.is_none() && value == OFF, "mov rax, dr5 without DE: {value:#x} {trap:x?}");
    set_debug_extensions(true);
    check_eq!(get(4) as i64, -19, "debug register 4 with DE");
    let trap = attempt!(".byte 0x0f, 0x21, 0xe8"; out("rax") _);
    check!(trap.is_some_and(|trap| trap.frame.vector == 6), "mov rax, dr5 with DE: {trap:x?}");
    set_debug_extensions(false);
    for register in [4u32, 5, 6, 7] {
        let value = get(register);
        check_eq!(call!(number::SET_DEBUGREG, register, 1u64 << 32), -22, "bit 32 of debug register {register}");
        check_eq!(get(register), value, "debug register {register} as before");
    }
}

fn ports(process: &Process) {
    let set_iopl = |level: u32| {
        check_eq!(call!(number::PHYSDEV_OP, 6u32, &[level, 0]), 0, "set_iopl {level}");
    };
    set_debug_extensions(false);
    set(0, PORT);
    check_eq!(call!(number::SET_DEBUGREG, 7u32, PORTS), -1, "an I/O breakpoint without DE");
    set_debug_extensions(true);
    set(7, PORTS);
    check_eq!(get(7), PORTS, "an I/O breakpoint reads back");
    let read = |port: u64| attempt!("in al, dx"; in("dx") port as u16, out("al") _);
    // Without the privilege there is no access.
    let trap = read(PORT);
    check!(trap.is_some_and(|trap| trap.frame.vector == 13), "in without IOPL: {trap:x?}");
    check_eq!(get(6), STATUS_AT_REST, "DR6 after an access that was not allowed");
    set_iopl(3);
    let trap = read(PORT + 1);
    check!(trap.is_some_and(|trap| trap.frame.vector == DEBUG && trap.frame.rip == trap.resume), "in: {trap:x?}");
    check_eq!(get(6) & 0x400f, 1, "DR6 says breakpoint 0");
    set(6, STATUS_AT_REST);
    check!(read(PORT + 2).is_none(), "another port");
    let trap = process.run(IN, |frame| (frame.rdx, frame.rflags) = (PORT, frame.rflags | 0x3000));
    check_eq!((trap.frame.vector, trap.frame.rip), (DEBUG, BASE + IN + 1), "in of a process");
    check_eq!(get(6) & 0x400f, 1, "DR6 says breakpoint 0");
    set(6, STATUS_AT_REST);
    // The address that the processor would watch if the breakpoint were loaded.
    set_debug_extensions(false);
    check!(read(PORT).is_none(), "without DE");
    set(7, OFF);
    set(0, 0);
    set_iopl(0);
    if !initial_domain() {
        let trap = process.run(IN, |frame| frame.rdx = PORT);
        check_eq!(trap.frame.vector, 13, "in of a process without IOPL");
    }
}

/// A watched page that the hypervisor writes to: the debug exception of the hypervisor is not
/// reported.
fn copies() {
    let cell = page();
    poke(cell, 0u64);
    set(0, cell);
    set(7, WRITES);
    check_eq!(call!(number::XEN_VERSION, 1u32, cell), 0, "a hypercall that writes to the watched page");
    set(7, OFF);
    set(0, 0);
    set(6, STATUS_AT_REST);
    match attempt!(".byte 0xf1") {
        Some(trap) if trap.frame.vector == DEBUG => check_eq!(get(6), STATUS_AT_REST, "DR6 after int1"),
        _ => {
            say!("no int1");
            true
        }
    };
    set(6, STATUS_AT_REST);
}

/// Watches a page of the calling vCPU, or nothing while DR0 still contains its address. Returns the
/// page.
pub(crate) fn choose(on: bool) -> u64 {
    let slot = &WATCHED[vcpu()];
    if slot.load(SeqCst) == 0 {
        slot.store(page(), SeqCst);
    }
    let own = slot.load(SeqCst);
    set(0, own);
    set(7, if on { WRITES } else { OFF });
    own
}

pub(crate) fn check_choice(on: bool, own: u64) {
    check_eq!((get(0), get(7)), (own, if on { WRITES } else { OFF }), "DR0 and DR7 after others have run");
    let write = |at: u64| attempt!("mov dword ptr [{at}], 1"; at = in(reg) at).map(|trap| trap.frame.vector);
    check_eq!(write(own), on.then_some(DEBUG), "a write to the page that is watched: {on}");
    check_eq!(get(6) & 0x400f, u64::from(on), "DR6 after it");
    set(6, STATUS_AT_REST);
    for slot in &WATCHED {
        let page = slot.load(SeqCst);
        if page != 0 && page != own {
            check_eq!(write(page), None, "a write to the page that the other vCPU watches");
        }
    }
    check_eq!(get(6), STATUS_AT_REST, "DR6 after a write that is not watched");
}
