//! Each vCPU's settings of the processor; see README.md.
#![no_std]
#![no_main]

mod breakpoints;
mod control;
mod instructions;
mod process;

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::call::yield_now;
use kernel::{check, check_eq, say, smp, time};

use crate::process::Process;

kernel::guest!(main);

/// Number of times that each vCPU yields the CPU between its settings.
const ROUNDS: u64 = 60;

static DONE: AtomicU64 = AtomicU64::new(0);

fn main() {
    let process = Process::new();
    control::at_start();
    control::fsgsbase(&process);
    control::tsd(&process);
    breakpoints::all(&process);
    instructions::instructions();
    check_eq!(smp::start(1, other), 0, "start vCPU 1");
    side_by_side(&process, 0);
    let end = time::now() + 20_000_000_000;
    while DONE.load(SeqCst) == 0 && time::now() < end {
        yield_now();
    }
    check!(DONE.load(SeqCst) == 1, "vCPU 1 has ended");
}

fn other() {
    let process = Process::new();
    control::at_start();
    side_by_side(&process, 1);
    DONE.store(1, SeqCst);
}

/// Chooses a setting in one round and the opposite in the next; the other vCPU does so with the
/// opposite phase.
fn side_by_side(process: &Process, number: u64) {
    for round in 0..ROUNDS {
        let on = (round + number).is_multiple_of(2);
        control::choose(on);
        let watched = breakpoints::choose(on);
        yield_now();
        control::check_choice(process, on);
        breakpoints::check_choice(on, watched);
    }
    control::choose(false);
    breakpoints::choose(false);
    say!("vCPU {number}: {ROUNDS} rounds");
}
