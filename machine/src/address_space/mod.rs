//! Paravane's own part of the address space: the page tables that boot builds, the per-CPU windows
//! in them, and the memory they are made from.
//!
//! What is mapped at boot stays as it is. Afterwards only the descriptor pages of a CPU's own
//! window change, and pages are added to the window for devices.

pub(crate) mod boot_memory;
pub(crate) mod early;
pub(crate) mod tables;
pub(crate) mod windows;
