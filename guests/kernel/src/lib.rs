//! Common code of the test guests: a minimal 64-bit PV kernel.
//!
//! It contains the whole kernel of a guest: entry, console, traps, page tables, and counting of
//! checks. A guest deliberately provokes the hypervisor with invalid values, and trusts only
//! itself. So the wrappers of hypercalls, instructions and memory accesses are safe functions by
//! decree. The guest's protection against itself is that an unexpected trap ends it with `RESULT:
//! error`.
#![no_std]

pub extern crate abi;

pub mod call;
pub mod console;
pub mod cpuid;
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

/// Defines the function that runs the guest's checks, for a kernel with the usual notes.
#[macro_export]
macro_rules! guest {
    ($main:path) => {
        $crate::usual_notes!();
        $crate::note_quad!(1, "_start");
        $crate::guest_main!($main);
    };
}

/// Defines the function that runs the guest's checks, for a kernel with notes of its own.
#[macro_export]
macro_rules! guest_main {
    ($main:path) => {
        /// Entry point of this guest's checks, called by the shared kernel.
        #[unsafe(no_mangle)]
        pub extern "C" fn guest_main() {
            let main: fn() = $main;
            main();
        }
    };
}
