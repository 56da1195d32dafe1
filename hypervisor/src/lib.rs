//! Paravane: domains, vCPUs, what a guest may map, scheduling, event channels, grant tables, hypercalls, time, consoles.
//! All of it safe Rust over `machine`, so that the same code runs on the machine and inside `cargo test`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod builder;
pub mod call;
pub mod console;
pub mod control;
pub mod cpu_policy;
pub mod debug_keys;
pub mod domain;
pub mod event_channel;
pub mod grant_table;
mod guest_log;
pub mod hardware;
pub mod hypercall;
mod latency;
pub mod lifecycle;
pub mod limits;
pub mod memory;
pub mod scheduler;
pub mod start;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
mod timers;
pub mod trap;
mod vcpu_loop;

pub use start::main;
