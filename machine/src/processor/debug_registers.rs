#![expect(unsafe_code, reason = "writes debug registers")]
//! The processor's debug registers. They contain a vCPU's breakpoints only while it is active and
//! has one enabled. Otherwise they have their reset values, so that no vCPU sees another's.

use core::arch::asm;

/// Reset values: DR6 without status, DR7 without an enabled breakpoint.
const STATUS_AT_REST: u64 = 0xffff_0ff0;
const CONTROL_AT_REST: u64 = 0x400;
/// Status bits of DR6: four breakpoints, general detect, single step, task switch.
const STATUS: u64 = 0xe00f;

macro_rules! write {
    ($register:literal, $value:expr) => {
        // SAFETY: breakpoints watch guest addresses only (`debug_register_is_legal`), and DR7 never
        // enables general detect.
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

/// Resets this CPU's registers, whatever the firmware has stored in them.
pub(crate) fn reset() {
    clear_breakpoints();
    clear_status();
}

/// Loads breakpoint addresses (DR0 to DR3) and their control (DR7).
pub(crate) fn load_breakpoints(addresses: [u64; 4], control: u64) {
    write_addresses(addresses);
    write!("dr7", control);
}

/// Disables and clears all breakpoints of this CPU.
pub(crate) fn clear_breakpoints() {
    write!("dr7", CONTROL_AT_REST);
    write_addresses([0; 4]);
}

/// Resets the status of debug exceptions.
pub(crate) fn clear_status() {
    write!("dr6", STATUS_AT_REST);
}

/// Returns the status in DR6, and resets it.
pub(crate) fn take_status() -> u64 {
    let status: u64;
    // SAFETY: reads a debug register.
    unsafe { asm!("mov {}, dr6", out(reg) status, options(nomem, nostack, preserves_flags)) };
    clear_status();
    status & STATUS
}
