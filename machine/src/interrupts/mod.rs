//! Interrupts of devices: how lines are wired and routed, and which of the hardware domain's
//! interrupts each vector of each CPU stands for.
//!
//! An interrupt is acknowledged at once, so that none holds up another. One whose line stays
//! asserted until its driver has served the device is masked before that, and unmasked when the
//! hardware domain reports that it is done.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
pub(crate) mod vector_table;

#[cfg(not(target_os = "none"))]
pub use backend::{assert_line, is_masked};
pub(crate) use backend::{connect, default_wiring, first_line, is_free, line_count, read_register, set_masked};
#[cfg(target_os = "none")]
pub(crate) use backend::{init, route_isa, silence_old_controllers};

use crate::addr::CpuId;

/// How a line asks for service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// By a change of the line, or by a message.
    Edge,
    /// By the state of the line.
    Level,
}

/// How a line is wired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wiring {
    /// Edge or level.
    pub trigger: Trigger,
    /// Whether low means asserted.
    pub active_low: bool,
}

/// Where a line leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redirection {
    pub(crate) wiring: Wiring,
    pub(crate) vector: u8,
    pub(crate) cpu: CpuId,
}
