//! Flushing translations and writing back caches, on this CPU and on others.
//!
//! A CPU requests a flush from others through a mailbox and an interrupt, and waits. A CPU that
//! waits, for a flush or a lock, serves its own mailbox, so two CPUs that request flushes from each
//! other both make progress. The [`clock`] determines which CPUs need a request.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
pub(crate) mod clock;
pub(crate) mod root_copies;
#[cfg(not(target_os = "none"))]
pub(crate) mod simulated;

#[cfg(not(target_os = "none"))]
pub(crate) use backend::serve_request;
#[cfg(not(target_os = "none"))]
pub use backend::with_interrupts_off;
pub use backend::{flush_cpus, serve, write_back_everywhere};

/// Flushes all translations of guest memory on this CPU.
pub fn flush_local() {
    if !clock::has_nothing_cached() {
        clock::around_flush(backend::flush_all);
    }
}
