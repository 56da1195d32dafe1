//! NMIs while a code segment is removed; see README.md. The machine gets NMIs frequently (`nmi` in
//! the manifest).
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use kernel::call::{number, stack_switch};
use kernel::memory::{machine_of, mfn_of, page, peek, poke};
use kernel::start::trap_stack_top;
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap::{self, Trap};
use kernel::user::{self, BASE, Space};
use kernel::{call, check, check_eq, say, smp, time};

kernel::guest!(main);

/// 64-bit code of ring 3, present and not present.
const PRESENT: u64 = 0x00af_fa00_0000_ffff;
const AWAY: u64 = PRESENT & !(1 << 47);
/// GDT entry of the process's code segment.
const ENTRY: u64 = 9;
const SELECTOR: u64 = ENTRY << 3 | 3;
/// Number of times that the descriptor is removed.
const ROUNDS: u64 = 100;

global_asm!(
    ".pushsection .text",
    ".balign 4096",
    ".globl counting",
    "counting:",
    // Register values that a hypervisor would corrupt if it continued at the wrong place.
    "2: inc qword ptr [rdi]",
    "inc rax",
    "jmp 2b",
    ".balign 4096, 0xcc",
    ".popsection",
);

unsafe extern "C" {
    static counting: u8;
}

/// Address of the process's counter in the kernel's mapping.
static COUNTER: AtomicU64 = AtomicU64::new(0);
static GDT: AtomicU64 = AtomicU64::new(0);
/// vCPU 1 has loaded the GDT: from then on its descriptors can be changed individually.
static LOADED: AtomicBool = AtomicBool::new(false);
/// Rounds that the process may start, and rounds that have ended.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

fn main() {
    let gdt = page();
    poke(gdt + ENTRY * 8, PRESENT);
    tables::protect(gdt);
    GDT.store(gdt, SeqCst);
    COUNTER.store(page(), SeqCst);
    check_eq!(smp::start(1, runs), 0, "start vCPU 1");
    let end = time::now() + 5_000_000_000;
    while !LOADED.load(SeqCst) && time::now() < end {
        core::hint::spin_loop();
    }
    say!("ready for NMIs");
    for round in 1..=ROUNDS {
        check_eq!(descriptor(PRESENT), 0, "the descriptor is there");
        BEGUN.store(round, SeqCst);
        let counter = COUNTER.load(SeqCst);
        let (before, end) = (peek::<u64>(counter), time::now() + 5_000_000_000);
        while peek::<u64>(counter) < before + 1000 && time::now() < end {
            core::hint::spin_loop();
        }
        check_eq!(descriptor(AWAY), 0, "the descriptor is removed");
        let end = time::now() + 5_000_000_000;
        while ENDED.load(SeqCst) < round && time::now() < end {
            core::hint::spin_loop();
        }
        if !check!(ENDED.load(SeqCst) == round, "the process ended in round {round}") {
            break;
        }
    }
    say!("the process counted to {}", peek::<u64>(COUNTER.load(SeqCst)));
}

fn descriptor(value: u64) -> i64 {
    call!(number::UPDATE_DESCRIPTOR, machine_of(GDT.load(SeqCst)) + ENTRY * 8, value)
}

/// Code of vCPU 1: runs the process until it traps, round by round.
fn runs() {
    let (gdt, list) = (GDT.load(SeqCst), page());
    poke(list, mfn_of(gdt));
    check_eq!(call!(number::SET_GDT, list, 512u32), 0, "set_gdt");
    LOADED.store(true, SeqCst);
    let _ = Space::new(&[
        tables::entry_for(&raw const counting as u64, READABLE),
        tables::entry_for(COUNTER.load(SeqCst), WRITABLE | NX),
    ]);
    stack_switch(trap_stack_top(1));
    for round in 1..=ROUNDS {
        while BEGUN.load(SeqCst) < round {
            core::hint::spin_loop();
        }
        let mut frame = user::frame(BASE, BASE + 0x1f00);
        (frame.cs, frame.rdi, frame.rax, frame.r15) = (SELECTOR, BASE + 0x1000, 0, 0x1515);
        ended(&user::run(&frame));
        ENDED.store(round, SeqCst);
    }
}

/// Checks that the process ended because of its segment, with its own registers.
fn ended(trap: &Trap) {
    let frame = &trap.frame;
    check!(matches!(frame.vector, 11 | 13 | trap::FAILSAFE), "the process ends because of its segment: {trap:x?}");
    if frame.vector != trap::FAILSAFE {
        check_eq!(frame.error, SELECTOR & !3, "the error code is the selector");
    }
    check_eq!((frame.cs & 0xffff, frame.r15, frame.rdi), (SELECTOR, 0x1515, BASE + 0x1000), "registers of the process");
    check!((BASE..BASE + 0x10).contains(&frame.rip) && frame.rax > 0, "the process has counted: {trap:x?}");
}
