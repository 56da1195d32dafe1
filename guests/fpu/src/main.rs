//! FPU state of two vCPUs; see README.md.
#![no_std]
#![no_main]

mod registers;

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::abi::vcpu::op;
use kernel::call::number;
use kernel::cpuid::cpuid;
use kernel::memory::page;
use kernel::start::vcpu;
use kernel::{attempt, call, check, check_eq, say, smp, time};

use registers::{Registers, clean, load, store};

kernel::guest!(main);

static STOP: AtomicU64 = AtomicU64::new(0);
static ROUNDS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static WRONG: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static DIRTY: AtomicU64 = AtomicU64::new(u64::MAX);

fn main() {
    check_eq!(clean(&store()), 0, "registers without their initial value");
    xsave();
    traps();
    task_switch();
    // The other vCPU starts on a CPU that contains this vCPU's registers.
    load(&Registers::pattern(0xaa));
    start_other();
    two();
    task_switch_of_one();
}

/// Enables XSAVE and AVX, if the CPU has them.
fn xsave() {
    let [_, _, ecx, _] = cpuid(1, 0);
    if ecx >> 26 & 1 == 0 {
        say!("no XSAVE");
        return;
    }
    let cr4 = registers::cr4();
    // SAFETY: enables XSAVE for this guest.
    unsafe { core::arch::asm!("mov cr4, {}", in(reg) cr4 | 1 << 18) };
    check!(registers::cr4() >> 18 & 1 == 1, "CR4.OSXSAVE");
    let [_, _, ecx, _] = cpuid(1, 0);
    check!(ecx >> 27 & 1 == 1, "CPUID says OSXSAVE");
    let set = |value: u64| attempt!("xsetbv"; in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32);
    let avx = ecx >> 28 & 1 == 1;
    let due = if avx { 7 } else { 3 };
    check!(set(due).is_none(), "XCR0 to {due}");
    check_eq!(registers::xcr0(), due, "XCR0");
    for bad in [0, 2, 5, 1 << 62 | 3] {
        check!(set(bad).is_some_and(|trap| trap.frame.vector == 13), "XCR0 to {bad:#x} is #GP");
    }
    check_eq!(registers::xcr0(), due, "XCR0 as before");
    say!("AVX: {avx}");
    registers::set_wide(avx);
}

/// Traps, hypercalls and page-table calls do not change the registers.
fn traps() {
    let pattern = Registers::pattern(0x11);
    load(&pattern);
    let _ = attempt!("ud2");
    let _ = attempt!("int3");
    let place = page();
    let _ = attempt!("mov [{at}], rax"; at = in(reg) 0x10_0000u64);
    let _ = call!(number::XEN_VERSION, 3u32, place);
    let _ = kernel::tables::extended(kernel::tables::mmuext::CLEAR_PAGE, kernel::memory::mfn_of(place), 0);
    check_eq!(pattern.differences(&store()), 0, "registers that changed over traps and calls");
    let wait = time::now() + 20_000_000;
    let _ = call!(number::SET_TIMER_OP, wait);
    while time::now() < wait + 10_000_000 {}
    check_eq!(pattern.differences(&store()), 0, "registers that changed over an interrupt");
}

fn task_switch() {
    let pattern = Registers::pattern(0x22);
    load(&pattern);
    check_eq!(call!(number::FPU_TASKSWITCH, 1u32), 0, "set TS");
    check!(registers::cr0() & 8 != 0, "CR0.TS is visible");
    let trap = attempt!("movups [{at}], xmm0"; at = in(reg) page());
    check!(trap.is_some_and(|trap| trap.frame.vector == 7), "SSE under TS is #NM: {trap:x?}");
    check!(registers::cr0() & 8 == 0, "the trap has cleared TS");
    check_eq!(pattern.differences(&store()), 0, "registers that changed over #NM");
    // Set by an instruction. SAFETY: sets TS.
    unsafe { core::arch::asm!("mov cr0, {}", in(reg) registers::cr0() | 8) };
    let trap = attempt!("movups [{at}], xmm0"; at = in(reg) page());
    check!(trap.is_some_and(|trap| trap.frame.vector == 7), "TS by mov to CR0: {trap:x?}");
    check_eq!(call!(number::FPU_TASKSWITCH, 1u32), 0, "set TS");
    check!(attempt!("clts").is_none(), "clts");
    check!(attempt!("movups [{at}], xmm0"; at = in(reg) page()).is_none(), "SSE after clts");
    check_eq!(pattern.differences(&store()), 0, "registers that changed");
}

/// Code of vCPU 1: keeps its own pattern while the other vCPU keeps another one.
fn other() {
    let narrow = clean(&store());
    xsave();
    // The upper halves, as soon as they are accessible.
    DIRTY.store(narrow + clean(&store()), SeqCst);
    loop {
        keep(0x5500);
        smp::down();
    }
}

fn start_other() {
    check_eq!(smp::start(1, other), 0, "start vCPU 1");
    let end = time::now() + 10_000_000_000;
    while DIRTY.load(SeqCst) == u64::MAX && time::now() < end {
        kernel::call::yield_now();
    }
    check_eq!(DIRTY.load(SeqCst), 0, "registers of a new vCPU without their initial value");
}

/// Loads patterns, yields the CPU, and compares, until stopped.
fn keep(base: u64) {
    let me = vcpu();
    let mut round = 0;
    while STOP.load(SeqCst) == 0 {
        let pattern = Registers::pattern(base + round % 200);
        load(&pattern);
        match round % 3 {
            0 => kernel::call::yield_now(),
            1 => {
                // Long enough for a time slice to end.
                for _ in 0..20_000 {
                    core::hint::spin_loop();
                }
            }
            _ => {
                let _ = call!(number::FPU_TASKSWITCH, 1u32);
                kernel::call::yield_now();
                let _ = call!(number::FPU_TASKSWITCH, 0u32);
            }
        }
        WRONG[me].fetch_add(pattern.differences(&store()), SeqCst);
        ROUNDS[me].fetch_add(1, SeqCst);
        round += 1;
    }
}

fn two() {
    let before = [ROUNDS[0].load(SeqCst), ROUNDS[1].load(SeqCst)];
    STOP.store(0, SeqCst);
    // Stops after two seconds, or three hundred rounds of each.
    let end = time::now() + 2_000_000_000;
    let me = vcpu();
    let mut round = 0;
    while time::now() < end && ROUNDS[1].load(SeqCst) < before[1] + 300 {
        let pattern = Registers::pattern(0x9900 + round % 200);
        load(&pattern);
        kernel::call::yield_now();
        WRONG[me].fetch_add(pattern.differences(&store()), SeqCst);
        ROUNDS[me].fetch_add(1, SeqCst);
        round += 1;
    }
    STOP.store(1, SeqCst);
    let end = time::now() + 10_000_000_000;
    while call!(number::VCPU_OP, op::IS_UP, 1u32, 0u64) != 0 && time::now() < end {
        kernel::call::yield_now();
    }
    for (vcpu, &begin) in before.iter().enumerate() {
        check!(ROUNDS[vcpu].load(SeqCst) > begin + 5, "rounds of vCPU {vcpu}");
        check_eq!(WRONG[vcpu].load(SeqCst), 0, "registers of vCPU {vcpu} that changed");
    }
}

/// TS of vCPU 0 is unchanged after a switch to vCPU 1 and back.
fn task_switch_of_one() {
    let pattern = Registers::pattern(0x33);
    load(&pattern);
    check_eq!(call!(number::FPU_TASKSWITCH, 1u32), 0, "set TS");
    let before = ROUNDS[1].load(SeqCst);
    STOP.store(0, SeqCst);
    check_eq!(call!(number::VCPU_OP, op::UP, 1u32, 0u64), 0, "vCPU 1 up again");
    let end = time::now() + 10_000_000_000;
    while ROUNDS[1].load(SeqCst) < before + 5 && time::now() < end {
        kernel::call::yield_now();
    }
    STOP.store(1, SeqCst);
    let trap = attempt!("movups [{at}], xmm0"; at = in(reg) page());
    check!(trap.is_some_and(|trap| trap.frame.vector == 7), "TS is still set: {trap:x?}");
    check_eq!(pattern.differences(&store()), 0, "registers that changed");
    check_eq!(WRONG[1].load(SeqCst), 0, "registers of vCPU 1 that changed");
}
