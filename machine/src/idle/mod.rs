#![expect(unsafe_code, reason = "assembly that enables interrupts")]
//! Halting a CPU.
//!
//! When a thread halts, the other thread of the core gets its share of buffers and predictors. If
//! the plan requires it, the data of guests in them is therefore overwritten before the halt. Boot
//! removes these instructions where they are not needed (`entry::remove`). With IBRS at each entry,
//! IBRS and STIBP are clear during the halt, since they slow the other thread down.

use core::arch::global_asm;

use crate::address_space::windows;
use crate::context::entry::Feature;
use crate::counters::{Counter, add};
use crate::per_cpu;
use crate::processor::registers;

const RETURN_STACK: u32 = 1 << 0;
const BUFFERS: u32 = 1 << 1;

global_asm!(
    include_str!("../processor/trap_macros.S"),
    include_str!("idle.S"),
    plain_return = const Feature::PlainReturn as u32,
    return_stack_before_idle = const Feature::ReturnStackBeforeIdle as u32,
    buffers_before_idle = const Feature::BuffersBeforeIdle as u32,
    return_stack_bit = const RETURN_STACK,
    buffers_bit = const BUFFERS,
    data_selector = const windows::DATA,
);

unsafe extern "C" {
    fn idle_halt() -> u32;
    safe fn idle_park() -> !;
    static halt_instruction: u8;
}

/// Waits for an interrupt: enables interrupts, halts, and disables interrupts again. A pending
/// interrupt ends the halt.
///
/// # Safety
/// This CPU's interrupt table must be loaded and no lock held that a handler takes.
pub(crate) unsafe fn halt_for_interrupt() {
    let own = per_cpu::own_spec_ctrl().into();
    if own != 0 {
        write_spec_ctrl(0);
    }
    // SAFETY: the caller guarantees handlers and locks.
    let done = unsafe { idle_halt() };
    if own != 0 {
        write_spec_ctrl(own);
    }
    if done != 0 {
        count(done);
    }
}

/// Handlers that interrupt a halt set Paravane's value themselves, and restore this one.
fn write_spec_ctrl(value: u64) {
    add(Counter::SpecCtrlWrites, 1);
    registers::write_spec_ctrl(value);
}

#[cold]
fn count(done: u32) {
    for (bit, counter) in [(RETURN_STACK, Counter::IdleReturnStacks), (BUFFERS, Counter::IdleBufferClears)] {
        if done & bit != 0 {
            add(counter, 1);
        }
    }
}

/// Halts this CPU forever, with interrupts off. It still handles NMIs and machine checks, for which
/// its interrupt table must be loaded.
pub(crate) fn park() -> ! {
    idle_park()
}

/// Where an interrupt that came in at `rip` returns to: the halt ends even if it has not begun.
pub(crate) fn skip_halt(rip: u64) -> u64 {
    if rip == (&raw const halt_instruction) as u64 { rip + 1 } else { rip }
}
