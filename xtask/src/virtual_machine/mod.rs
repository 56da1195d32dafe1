//! Virtual machines: QEMU, what it boots, and the session on its serial line.

pub(crate) mod accelerator;
pub(crate) mod control_domain;
pub(crate) mod dialogue;
pub(crate) mod emulator;
pub(crate) mod host;
pub(crate) mod machine;
pub(crate) mod monitor;
pub(crate) mod picture;
pub(crate) mod qemu;
pub(crate) mod scenario;
pub(crate) mod serial;
pub(crate) mod session;
