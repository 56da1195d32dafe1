#![expect(unsafe_code, reason = "writes debug registers")]
//! The processor's debug registers. A vCPU's breakpoints are in them only while it is active and
//! has one enabled; otherwise they are at rest, so that no vCPU meets another's.

use core::arch::asm;

use crate::context::GuestContext;

/// DR6 with nothing to report, DR7 with no breakpoint enabled.
const STATUS_AT_REST: u64 = 0xffff_0ff0;
const CONTROL_AT_REST: u64 = 0x400;
/// What DR6 reports: four breakpoints, general detect, single step, task switch.
const STATUS: u64 = 0xe00f;

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: breakpoints watch guest addresses only (`debug_register_is_legal`), and DR7 never
        // asks for the general detect trap.
        unsafe {
            asm!(concat!("mov ", $register, ", {}"), in(reg) $value, options(nomem, nostack, preserves_flags))
        }
    };
}

fn write_addresses([first, second, third, fourth]: [u64; 4]) {
    write!("dr0", first);
    write!("dr1", second);
    write!("dr2", third);
    write!("dr3", fourth);
}

/// Puts this CPU's registers at rest, whatever the firmware has left in them.
pub(super) fn reset() {
    clear_breakpoints();
    clear_status();
}

/// Loads the breakpoints of the active vCPU, if it has one enabled that the processor can watch.
pub(crate) fn load_breakpoints(context: &GuestContext) {
    let Some(control) = context.watching() else { return };
    let [first, second, third, fourth, ..] = context.debug_registers;
    write_addresses([first, second, third, fourth]);
    write!("dr7", control);
}

/// Takes all breakpoints out of this CPU.
pub(crate) fn clear_breakpoints() {
    write!("dr7", CONTROL_AT_REST);
    write_addresses([0; 4]);
}

/// Forgets what a debug exception has reported.
pub(super) fn clear_status() {
    write!("dr6", STATUS_AT_REST);
}

/// Adds what the processor reports to what the vCPU has recorded, and puts the processor's at rest.
pub(crate) fn latch_debug_status(context: &mut GuestContext) {
    let status: u64;
    // SAFETY: reads a debug register.
    unsafe { asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    context.debug_registers[6] |= status & STATUS;
    clear_status();
}
