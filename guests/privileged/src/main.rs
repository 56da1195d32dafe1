//! Privileged instructions; see README.md.
#![no_std]
#![no_main]

mod control;
mod cpuid;
mod msr;
mod others;

use kernel::trap::Trap;
use kernel::{check, check_eq};

kernel::guest!(main);

fn main() {
    cpuid::all();
    control::all();
    msr::all();
    others::all();
}

/// Checks that the instruction is refused with this vector and error code 0, at its own address.
fn refused(what: &str, vector: u64, trap: Option<Trap>) {
    match trap {
        None => {
            check!(false, "{what}: no trap");
        }
        Some(trap) => {
            check_eq!((trap.frame.vector, trap.frame.error), (vector, 0), "{what}");
        }
    }
}

/// Checks that the instruction is emulated.
fn done(what: &str, trap: Option<Trap>) {
    check!(trap.is_none(), "{what}: {trap:x?}");
}

/// Checks that the instruction is emulated or refused with #GP: Xen does not emulate all that it
/// could.
fn either(what: &str, trap: Option<Trap>) {
    check!(trap.is_none_or(|trap| trap.frame.vector == 13 && trap.frame.error == 0), "{what}: {trap:x?}");
}
