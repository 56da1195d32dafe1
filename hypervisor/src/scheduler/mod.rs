//! Which vCPU runs where and when.
//!
//! Each pCPU has a run queue (`queue`) ordered by virtual time, so that CPU time is shared by weight. A vCPU that wakes is
//! sent to an idle pCPU if there is one, and otherwise takes its pCPU from a vCPU that is ahead of it. Slices end only when
//! somebody waits; then queues whose vCPUs get less than others' hand one over (`balance`). Idle pCPUs take from all queues. A vCPU that waits where nobody
//! else wants the pCPU stays loaded there (`idle_lazily`).
//!
//! A domain gains nothing by spreading its work over vCPUs that wake each other: the credit that a
//! sleeper wakes with, and the slice, are the domain's on each pCPU (`share`).
//!
//! - **SC-1** A vCPU is in at most one queue, or runs or dozes on one pCPU, or is `Off` (or on its way, by one pCPU's hand). Its place
//!   changes only under the lock of its home queue; two queues are never locked at once.
//! - **SC-2** No wake-up is lost: whoever makes a vCPU runnable does so before it looks at its place, and who takes it
//!   off does so before it looks whether it is runnable. Both in one total order.
//! - **SC-3** A vCPU's context is parked whenever its place is neither `Running` nor `LazyIdle`.
//! - **SC-4** No pCPU halts while a vCPU that it may run waits: it announces itself as idle before it looks for the last time,
//!   and who lets a vCPU wait looks for idle pCPUs afterwards.

mod balance;
mod cpu;
mod dump;
mod lazy_idle;
mod pause;
mod poll;
mod queue;
mod runstate;
mod settings;
mod share;
mod state;
mod switch;
mod usage;
mod wake;

#[cfg(test)]
pub(crate) use cpu::idle_cpus;
pub(crate) use cpu::{halt, idle_time, leave_idle};
pub(crate) use dump::describe;
pub(crate) use lazy_idle::{end_lazy_idle, idle_lazily, may_idle_lazily};
pub(crate) use pause::{kick_all, pause, unpause, wait_until_parked};
pub(crate) use poll::poll_timeout;
pub(crate) use poll::{start_polling, wake_pollers};
pub(crate) use settings::{
    lift_pin_override, override_pin, rate_limit, set_affinity, set_cap, set_rate_limit, set_soft_affinity, set_weight,
};
pub(crate) use share::DomainScheduling;
#[cfg(test)]
pub(crate) use share::SLICE;
pub(crate) use state::SchedulerState;
pub(crate) use switch::{arrange_slice, deadline, must_stop, note_leaving, put_back, take_next, yield_now};
pub(crate) use wake::{block, kick, notify, resume, running_on, wake};
