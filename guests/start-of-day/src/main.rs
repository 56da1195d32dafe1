//! The state passed by the hypervisor at a guest's start; see README.md.
#![no_std]
#![no_main]

mod checks;

kernel::guest!(checks::main);
