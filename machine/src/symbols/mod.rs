//! The symbol table of the image.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

#[cfg(target_os = "none")]
pub(crate) use backend::lookup;
pub use backend::{build_id, by_number, count};
