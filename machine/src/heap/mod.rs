//! Paravane's own heap: how much of it is left.
//!
//! There are three kinds of allocations. Large allocations, and those that a guest can make
//! Paravane keep, check the heap here first and are refused when it is short. Temporary allocations
//! of a call, and small permanent ones, are bounded by [`MAX_UNCHECKED`] on each pCPU, whatever its
//! guest does. The reserve has room for them, and the hosted heap lets tests measure them. Memory
//! allocated once for each domain or vCPU was checked when the domain or vCPU was created.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

#[cfg(target_os = "none")]
pub(crate) use backend::add;
#[cfg(not(target_os = "none"))]
pub use backend::{most_allocated, refusing, set_short};

/// Bytes that a pCPU may have allocated at a time without a check.
pub const MAX_UNCHECKED: usize = 32 << 10;

/// Whether this many bytes are available in addition to the reserve. Adds free memory if necessary.
pub use backend::has_room;

/// Whether allocations for a guest should be refused, because the rest of the heap is for
/// allocations that cannot fail. Checked before a structure that a guest can grow is enlarged.
pub fn is_short() -> bool {
    !has_room(0)
}

/// Approximate number of bytes in use, and the size of the heap.
pub use backend::usage;
