//! Forgetting cached translations, and writing back caches, here and on other CPUs.
//!
//! A CPU asks others through a mailbox and an interrupt, and waits. Whoever waits (for this or for a lock) serves its own
//! mailbox meanwhile, so two that ask each other both go on.

use crate::tlb_clock;

pub use crate::backend::tlb::{flush_cpus, serve, write_back_everywhere};

/// Forgets every translation of guest memory that this CPU has cached.
pub fn flush_local() {
    if !tlb_clock::has_nothing_cached() {
        tlb_clock::around_flush(crate::backend::tlb::flush_all);
    }
}
