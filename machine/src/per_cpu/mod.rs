//! Per-CPU data: a CPU's number, and the set of events that interrupts have recorded for it.
//!
//! On the machine a CPU finds its own page by its stack pointer. In a test process a thread is a
//! CPU.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

use bitflags::bitflags;

use crate::addr::CpuId;

pub use backend::*;

bitflags! {
    /// Events recorded by interrupts since the last query.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Pending: u32 {
        /// The deadline of `time::set_deadline` has been reached.
        const TIMER = 1 << 0;
        /// Another CPU called `kick`.
        const KICK = 1 << 1;
        /// The serial line has input, or room for output again.
        const SERIAL = 1 << 2;
        /// Interrupts of the hardware domain's devices.
        const DEVICE = 1 << 3;
    }
}

/// The CPUs that are online, in rising order.
pub fn all_online() -> impl Iterator<Item = CpuId> {
    (0..).map_while(CpuId::new).take(online())
}
