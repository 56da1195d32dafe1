//! Paravane's access to machine memory: the direct map, the frame table and the M2P.
//!
//! The modules above are responsible for the use of the pointers returned here.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

pub(crate) use backend::*;

/// Size of a slot of the frame table in bytes.
pub(crate) const FRAME_SLOT_SIZE: usize = 32;
