//! A vCPU's state as the hardware sees it, and running it.
//!
//! An inactive [`GuestContext`] belongs to the holder of its box. [`GuestContext::activate`] loads
//! the state that a pCPU keeps while it runs one vCPU (root table, segments, extended state,
//! descriptor windows). The [`Active`] value is the permission to run it and to access its memory.
//! All guest-chosen values are sanitised on entry, so any value may be put into the registers here.

mod active;
mod control;
mod debug_registers;
mod exit;
mod extended_state;
mod fast_path;
mod guest_context;
mod handlers;
#[cfg(any(target_os = "none", test))]
mod no_operation;
mod registers;
mod roots;
mod speculation_control;
#[cfg_attr(target_os = "none", path = "bare/mod.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted/mod.rs")]
pub(crate) mod vcpu;

pub use active::Active;
pub use exit::Exit;
pub use extended_state::LEGACY;
pub use guest_context::{DomainDefences, GuestContext, Ldt};
pub(crate) use guest_context::{KERNEL, USER};
pub use handlers::{Handler, Handlers};
pub use registers::{FLAGS_CLEARED_ON_BOUNCE, Registers, Selectors, is_canonical};
#[cfg(target_os = "none")]
pub(crate) use registers::{PRIVILEGE_MASK, VIRTUAL_8086};
#[cfg(target_os = "none")]
pub(crate) use vcpu::entry;
