//! Time as guests see it: their timers, the paravirtualised clock, the wall clock, run states.
//!
//! All clocks are one: nanoseconds since Paravane's boot, from the time-stamp counter by one scale and one base that never
//! change. So a guest's time information is written once for each place and holds wherever its vCPUs run.

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
