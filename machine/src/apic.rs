#![expect(unsafe_code, reason = "device registers in memory, MSRs")]
//! The local APIC of each CPU, accessed by MSRs (x2APIC) if available, otherwise by memory (xAPIC).
//! Intel SDM volume 3, chapter 11.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::integers::low_u32;
use crate::processor::{msr, registers};
use crate::vectors;

/// Register numbers: xAPIC offset divided by 16.
const ID: u32 = 0x02;
const TASK_PRIORITY: u32 = 0x08;
const END_OF_INTERRUPT: u32 = 0x0b;
const SPURIOUS: u32 = 0x0f;
const ERROR_STATUS: u32 = 0x28;
const COMMAND: u32 = 0x30;
const COMMAND_TARGET: u32 = 0x31;
const TIMER: u32 = 0x32;
const THERMAL: u32 = 0x33;
const PERFORMANCE: u32 = 0x34;
const LINT0: u32 = 0x35;
const LINT1: u32 = 0x36;
const ERROR: u32 = 0x37;
const TIMER_INITIAL: u32 = 0x38;
const TIMER_CURRENT: u32 = 0x39;
const TIMER_DIVIDE: u32 = 0x3e;

const MASKED: u32 = 1 << 16;
const DELIVER_NMI: u32 = 4 << 8;
const DELIVER_EXTERNAL: u32 = 7 << 8;
const DELIVER_INIT: u32 = 5 << 8;
const DELIVER_STARTUP: u32 = 6 << 8;
const ASSERT: u32 = 1 << 14;
const BUSY: u32 = 1 << 12;
const TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_16: u32 = 3;

/// The timer's maximum initial count.
pub(crate) const ONE_SHOT_MAX: u32 = u32::MAX;

/// Address of the mapped registers; zero in x2APIC mode.
static MEMORY: AtomicU64 = AtomicU64::new(0);

fn read(register: u32) -> u32 {
    match MEMORY.load(Ordering::Relaxed) {
        0 => low_u32(registers::read_msr(msr::X2APIC + register)),
        // SAFETY: the page of registers stays mapped at this address.
        base => unsafe { ((base + u64::from(register) * 16) as *const u32).read_volatile() },
    }
}

fn write(register: u32, value: u32) {
    match MEMORY.load(Ordering::Relaxed) {
        // SAFETY: the registers written here affect only interrupts.
        0 => unsafe { registers::write_msr(msr::X2APIC + register, value.into()) },
        // SAFETY: as above, and the page stays mapped.
        base => unsafe { ((base + u64::from(register) * 16) as *mut u32).write_volatile(value) },
    }
}

/// Chooses the mode on the boot CPU. `map` maps the page of registers and returns its address.
pub(crate) fn choose(x2apic: bool, physical: Option<u64>, map: impl FnOnce(u64) -> u64) {
    let base = registers::read_msr(msr::APIC_BASE);
    let in_x2apic = base & 1 << 10 != 0;
    if !(x2apic || in_x2apic) {
        let physical = physical.unwrap_or(base & 0x000f_ffff_ffff_f000);
        MEMORY.store(map(physical), Ordering::Relaxed);
    }
}

/// Physical address of the registers in xAPIC mode.
pub(crate) fn physical() -> u64 {
    registers::read_msr(msr::APIC_BASE) & 0x000f_ffff_ffff_f000
}

/// Whether the APIC is in x2APIC mode.
pub(crate) fn is_x2apic() -> bool {
    MEMORY.load(Ordering::Relaxed) == 0
}

/// Enables this CPU's APIC with every source masked except NMI.
pub(crate) fn init() {
    let mode = if is_x2apic() { 1 << 10 } else { 0 };
    let base = registers::read_msr(msr::APIC_BASE);
    // SAFETY: enables the APIC in the chosen mode at its current address.
    unsafe { registers::write_msr(msr::APIC_BASE, base | 1 << 11 | mode) };
    write(SPURIOUS, 1 << 8 | u32::from(vectors::SPURIOUS));
    write(TASK_PRIORITY, 0);
    for register in [TIMER, THERMAL, PERFORMANCE] {
        write(register, MASKED);
    }
    write(LINT0, MASKED | DELIVER_EXTERNAL);
    write(LINT1, DELIVER_NMI);
    write(ERROR, vectors::APIC_ERROR.into());
    write(TIMER_DIVIDE, DIVIDE_BY_16);
    acknowledge();
}

/// This CPU's APIC ID.
pub(crate) fn id() -> u32 {
    if is_x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Acknowledges the interrupt in service.
pub(crate) fn acknowledge() {
    write(END_OF_INTERRUPT, 0);
}

/// Errors since the last call.
pub(crate) fn error_status() -> u32 {
    write(ERROR_STATUS, 0);
    read(ERROR_STATUS)
}

fn command(target: u32, value: u32) {
    crate::counters::count(crate::counters::Counter::Ipis);
    if is_x2apic() {
        // SAFETY: sends an interrupt; the handler at the target determines its effect.
        return unsafe { registers::write_msr(msr::X2APIC + COMMAND, u64::from(target) << 32 | u64::from(value)) };
    }
    let idle = || read(COMMAND) & BUSY == 0;
    while !idle() {
        core::hint::spin_loop();
    }
    write(COMMAND_TARGET, target << 24);
    write(COMMAND, value);
}

/// Sends an interrupt. Earlier memory writes are visible to its handler.
pub(crate) fn send(target: u32, vector: u8) {
    core::sync::atomic::fence(Ordering::SeqCst);
    if is_x2apic() {
        // SAFETY: a fence. Writes of x2APIC registers are not ordered after earlier stores.
        unsafe { core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags)) };
    }
    command(target, ASSERT | u32::from(vector));
}

/// Sends an NMI.
pub(crate) fn send_nmi(target: u32) {
    command(target, ASSERT | DELIVER_NMI);
}

/// Resets a CPU into wait-for-SIPI.
pub(crate) fn send_init(target: u32) {
    command(target, ASSERT | DELIVER_INIT);
}

/// Starts a CPU in wait-for-SIPI at a page below 1 MiB.
pub(crate) fn send_startup(target: u32, page: u8) {
    command(target, ASSERT | DELIVER_STARTUP | u32::from(page));
}

/// Starts the timer with `count` sixteenths of its clock; zero stops it.
pub(crate) fn start_one_shot(count: u32) {
    write(TIMER_INITIAL, count);
}

/// Starts the timer from its maximum without an interrupt, for calibration.
pub(crate) fn start_measuring() {
    write(TIMER, MASKED | u32::from(vectors::TIMER));
    write(TIMER_INITIAL, ONE_SHOT_MAX);
}

/// The timer's current count.
pub(crate) fn timer_count() -> u32 {
    read(TIMER_CURRENT)
}

/// Puts the timer into one-shot mode.
pub(crate) fn use_one_shot_mode() {
    write(TIMER, vectors::TIMER.into());
}

/// Puts the timer into TSC-deadline mode.
pub(crate) fn use_deadline_mode() {
    write(TIMER, TSC_DEADLINE | u32::from(vectors::TIMER));
    // The mode must be set before the first deadline is written (SDM 11.5.4.1).
    core::sync::atomic::fence(Ordering::SeqCst);
}

/// Sets the deadline; zero clears it.
pub(crate) fn set_tsc_deadline(tsc: u64) {
    // SAFETY: affects only the time of the timer's interrupt.
    unsafe { registers::write_msr(msr::TSC_DEADLINE, tsc) };
}
