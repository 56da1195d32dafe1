//! Flushing cached translations, and writing back caches, here and on other CPUs.
//!
//! A CPU asks others through a mailbox and an interrupt, and waits. A CPU that waits, for this or
//! for a lock, serves its own mailbox meanwhile, so two CPUs that ask each other both proceed. The
//! [`clock`] tells which CPUs need to be asked.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
pub(crate) mod clock;

#[cfg(not(target_os = "none"))]
pub use backend::with_interrupts_off;
#[cfg(not(target_os = "none"))]
pub(crate) use backend::{during_access, serve_request};
pub use backend::{flush_cpus, serve, write_back_everywhere};

/// Forgets every translation of guest memory that this CPU has cached.
pub fn flush_local() {
    if !clock::has_nothing_cached() {
        clock::around_flush(backend::flush_all);
    }
}
