//! The core of Paravane: domains, vCPUs, guest memory, scheduling, event channels, grant tables,
//! hypercalls, time and consoles. It is safe Rust on top of `machine`, so the same code runs on
//! hardware and inside `cargo test`.
#![no_std]
#![cfg_attr(
    not(any(test, feature = "testing")),
    deny(
        clippy::cast_lossless,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::disallowed_methods,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]
#![cfg_attr(any(test, feature = "testing"), allow(clippy::disallowed_methods, reason = "tests need no masked indices"))]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

mod builder;
mod call;
mod console;
mod control;
mod cpu_policy;
mod debug_keys;
mod domain;
mod event_channel;
mod grant_table;
mod guest_log;
mod hardware;
mod hypercall;
mod latency;
mod lifecycle;
pub mod limit_table;
mod limits;
mod memory;
mod scheduler;
mod start;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod timers;
mod trap;
mod vcpu_context;
mod vcpu_loop;
mod xenstore;

pub use start::main;

/// The tables from which pages of `docs/` are generated.
pub mod tables {
    pub use crate::cpu_policy::{evidence, features, msr, registers};
    pub use crate::hypercall::table as hypercalls;
    pub use crate::limit_table as limits;
}
