//! Interrupts of devices: routing of lines, and the assignment of each CPU's vectors to
//! the hardware domain's interrupts.
//!
//! An interrupt is acknowledged immediately, so that it does not delay others. A level-triggered
//! line is masked before the acknowledgement, and unmasked when the hardware domain signals end of
//! interrupt.

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

/// Trigger mode of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// Triggered by an edge of the line, or by a message.
    Edge,
    /// Triggered by the level of the line.
    Level,
}

/// Trigger mode and polarity of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wiring {
    /// Edge or level.
    pub trigger: Trigger,
    /// Whether the line is asserted when low.
    pub active_low: bool,
}

/// The destination of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Redirection {
    pub(crate) wiring: Wiring,
    pub(crate) vector: u8,
    pub(crate) cpu: CpuId,
}
