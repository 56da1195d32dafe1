//! The unsafe ring of Paravane: everything that touches hardware, raw memory or the meaning of a reference count, behind
//! an API that safe code cannot misuse. `docs/soundness.md` argues why.
//!
//! Two back ends supply the same modules: `bare` on the machine itself, `hosted` inside a test process, where RAM is a
//! mapping and CPUs are threads.
#![no_std]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

#[cfg(target_os = "none")]
mod bare;
#[cfg(not(target_os = "none"))]
pub mod hosted;

#[cfg(target_os = "none")]
use bare as backend;
#[cfg(not(target_os = "none"))]
use hosted as backend;

pub mod addr;
pub mod boot;
pub mod console;
pub mod context;
pub mod counters;
pub mod cpu;
mod extended_state;
pub mod firmware;
pub mod frames;
pub mod guest_memory;
pub mod hardware;
pub mod heap;
pub mod m2p;
pub mod paging;
pub mod power;
pub mod symbols;
pub mod sync;
pub mod time;
pub mod tlb;
mod tlb_clock;
