//! Paravane's own heap: how much of it is left.
//!
//! Allocations come in three kinds. What a guest can make Paravane keep, and what is large, asks
//! here first and is refused when the heap is short. What a call needs only while it lasts, and
//! what is kept but small, is bounded by [`UNASKED`] for each pCPU, whatever its guest does: the
//! reserve has room for that, and the hosted heap lets tests measure it. What is allocated once for
//! each domain or vCPU was asked for when that was made.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

#[cfg(target_os = "none")]
pub(crate) use backend::add;
#[cfg(not(target_os = "none"))]
pub use backend::{most_allocated, refusing, set_short};

/// Bytes that a pCPU may have allocated at a time without a check.
pub const UNASKED: usize = 32 << 10;

/// Whether there are so many bytes beside the reserve. Takes in free memory if need be.
pub use backend::has_room;

/// Whether so little is left that allocations for a guest should be refused: the rest is for
/// allocations that cannot fail. Every structure that a guest can make grow checks this first.
pub fn is_short() -> bool {
    !has_room(0)
}

/// How many bytes of it are in use, about, and how many there are.
pub use backend::usage;
