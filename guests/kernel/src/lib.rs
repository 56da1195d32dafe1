//! What the test guests share: a minimal 64-bit PV kernel.
//!
//! It owns the guest's whole machine: entry, console, traps, page tables, and the counting of checks. A guest is there to
//! provoke the hypervisor, on purpose and with wrong values, and it trusts nothing but itself; so the wrappers around
//! hypercalls, instructions and memory are safe functions by decree, and what protects the guest from itself is that a
//! trap nobody waits for ends it with `RESULT: error`.
#![no_std]

pub extern crate abi;

pub mod call;
pub mod console;
pub mod forest;
pub mod grants;
pub mod harness;
pub mod memory;
pub mod smp;
pub mod start;
pub mod tables;
pub mod time;
pub mod trap;
pub mod user;

/// Names the function that runs the guest's checks, of a kernel that has the usual notes.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        $crate::usual_notes!();
        $crate::note_quad!(1, "_start");
        $crate::guest_main!($main);
    };
}

/// Names the function that runs the guest's checks, of a kernel that brings notes of its own.
#[macro_export]
macro_rules! guest_main {
    ($main:path) => {
        /// Entry of this guest's checks, called by the shared kernel.
        #[unsafe(no_mangle)]
        pub extern "C" fn guest_main() {
            let main: fn() = $main;
            main();
        }
    };
}
