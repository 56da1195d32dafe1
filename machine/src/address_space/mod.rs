//! Paravane's own part of the address space: the page tables built at boot, the per-CPU windows in
//! them, and the memory from which they are allocated.
//!
//! Mappings made at boot never change, except for the descriptor pages in a CPU's own window and
//! the pages that are added to the device window.

pub(crate) mod boot_memory;
pub(crate) mod early;
pub(crate) mod restricted_roots;
pub(crate) mod tables;
pub(crate) mod windows;
