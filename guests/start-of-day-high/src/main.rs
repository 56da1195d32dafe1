//! The start of day with the P2M list and the module outside the start region; see README.md.
#![no_std]
#![no_main]

kernel::note_quad!(15, 0xffffc00000000000);
kernel::note_quad!(16, 1);

#[path = "../../start-of-day/src/checks.rs"]
mod checks;

kernel::guest!(checks::main);
