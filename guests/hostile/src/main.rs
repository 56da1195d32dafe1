//! A malicious guest; see README.md.
#![no_std]
#![no_main]

mod calls;
mod channels;
mod instructions;
mod random;
mod ring;
mod trees;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel::memory::{argument, initial_domain, vcpu_info};
use kernel::{check, harness, say, trap};

use random::Random;

kernel::guest!(main);

/// Number of unexpected traps in kernel mode that were ignored.
static PASSED: AtomicU64 = AtomicU64::new(0);

fn main() {
    if initial_domain() && argument("force").is_none() {
        harness::skip("an initial domain may do what this guest does");
    }
    let seed = argument("seed").unwrap_or(1);
    say!("seed {seed}");
    let mut random = Random::new(seed);
    // An event in kernel mode is ignored; one in user mode ends the run there.
    trap::set_hook(
        true,
        Some(|frame| {
            vcpu_info(0).set_pending(0);
            frame.cs & 3 != 3
        }),
    );
    instructions::user(&mut random);
    instructions::kernel(&mut random);
    trees::all(&mut random);
    channels::all(&mut random);
    ring::all(&mut random);
    // Random debug registers cause #DB anywhere; it is ignored.
    trap::set_hook(
        false,
        Some(|frame| {
            let pass = frame.vector == 1;
            if pass {
                PASSED.fetch_add(1, Relaxed);
                frame.rflags &= !0x100;
            }
            pass
        }),
    );
    calls::all(&mut random);
    check!(true, "still running");
    say!("debug traps: {}", PASSED.load(Relaxed));
}
