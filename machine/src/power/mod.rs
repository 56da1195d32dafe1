//! Power-off and restart of the machine.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

pub use backend::{halt, off, reboot};
