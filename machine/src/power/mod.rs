//! Switching the machine off, and restarting it.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

pub use backend::{halt, off, reboot};
