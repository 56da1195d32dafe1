//! The start of day of a kernel with a `__xen_guest` section and no notes; see README.md.
#![no_std]
#![no_main]

kernel::legacy_text!();

#[path = "../../start-of-day/src/checks.rs"]
mod checks;

kernel::guest_main!(checks::main);
