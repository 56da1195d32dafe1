//! The start of day of a kernel whose entry point is only in its ELF header; see README.md.
#![no_std]
#![no_main]

kernel::usual_notes!();

#[path = "../../start-of-day/src/checks.rs"]
mod checks;

kernel::guest_main!(checks::main);
