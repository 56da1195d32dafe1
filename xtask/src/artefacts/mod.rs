//! What xtask builds and what it builds with: the hypervisor, programs for guests, the Debian
//! package, and the toolchains.

mod branches;
pub(crate) mod control_command;
pub(crate) mod hypervisor;
pub(crate) mod nightly;
pub(crate) mod package;
pub(crate) mod programs;
mod reserved;
pub(crate) mod returns;
pub(crate) mod symbols;
pub(crate) mod toolchain;
