//! The unsafe ring of Paravane: all code that accesses the hardware or raw memory, or defines what
//! a reference count means. Its API cannot be misused by safe code; `docs/soundness.md` contains
//! the argument.
//!
//! A module that touches the hardware has two back ends with the same names and signatures: `bare`
//! on the machine itself, and `hosted` in a test process, where RAM is a mapping and CPUs are
//! threads.
#![no_std]
#![cfg_attr(
    target_os = "none",
    deny(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::disallowed_methods,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]
#![cfg_attr(
    not(target_os = "none"),
    allow(clippy::disallowed_methods, reason = "checked in the build for the bare machine")
)]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod addr;
#[allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "no guest runs yet")]
pub mod boot;
#[allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "no guest names a module")]
pub mod boot_modules;
#[allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "indices are Paravane's own; characters are masked"
)]
pub mod console;
pub mod context;
pub mod counters;
pub mod cpu;
#[allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "no guest runs yet")]
pub mod defences;
mod device_memory;
mod exception_table;
pub mod firmware;
pub mod frames;
pub mod guest_memory;
pub mod hardware;
pub mod heap;
pub mod integers;
mod interrupts;
pub mod m2p;
pub mod microcode_update;
mod once;
mod per_cpu;
mod ports;
pub mod power;
mod processor;
mod pte;
mod ram;
mod rendezvous;
pub mod speculation;
pub mod symbols;
pub mod sync;
pub mod time;
pub mod tlb;
pub mod topology;
pub mod vectors;

// Modules of the bare machine only.
#[cfg(target_os = "none")]
mod address_space;
#[cfg(target_os = "none")]
mod apic;
#[cfg(target_os = "none")]
mod idle;
#[cfg(target_os = "none")]
mod interrupt_dispatch;
#[cfg(target_os = "none")]
mod layout;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
#[allow(clippy::disallowed_methods, clippy::indexing_slicing, reason = "no guest runs yet")]
mod start;
#[cfg(target_os = "none")]
mod traps;

// Modules of a test process only.
#[cfg(not(target_os = "none"))]
pub mod hosted;

/// Page-table entries as values, and the policy that admits them.
pub mod paging {
    pub use crate::frames::{Admission, Entry, NoEntries, check_descriptor, names_memory};
    pub use crate::pte::{LeafFlags, RawEntry};
}
