//! Machine memory as Paravane reaches it: the direct map, and where the frame table and the M2P
//! lie.
//!
//! What the modules above make of a pointer from here is their responsibility.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

pub(crate) use backend::*;

/// Bytes of a slot of the frame table.
pub(crate) const FRAME_SLOT_SIZE: usize = 32;
