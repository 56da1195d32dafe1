//! Guest time: timers, the paravirtualised clock, the wall clock, runstate areas.
//!
//! There is a single clock: nanoseconds since Paravane's boot, computed from the time-stamp counter
//! with one scale and one base that never change. A guest's time information is therefore written
//! once per location and remains valid on all pCPUs.

mod areas;
mod clock;
mod vcpu;
mod watchdog;

pub(crate) use areas::{before_park, refresh, write_runstate, write_time};
#[cfg(test)]
pub(crate) use clock::wall_clock;
pub(crate) use clock::{init_domain, set_wall_clock, show_wall_clock};
pub(crate) use vcpu::VcpuTime;
pub(crate) use watchdog::Watchdogs;

#[cfg(test)]
mod tests;
