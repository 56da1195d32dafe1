//! The scheduler, which decides where and when each vCPU runs.
//!
//! Each pCPU has a run queue (`queue`) ordered by virtual time, so that CPU time is shared by
//! weight. A vCPU that wakes is sent to an idle pCPU if there is one. Otherwise it preempts a vCPU
//! that is ahead of it. A slice ends only if another vCPU waits; then a queue whose vCPUs get less
//! than others' hands one over (`balance`). Idle pCPUs steal from all queues. A vCPU that blocks
//! while no other vCPU wants its pCPU stays loaded there (`idle_lazily`).
//!
//! A domain gains nothing by spreading its work over vCPUs that wake each other: the credit of a
//! vCPU that has slept and the slice are shared by the domain's vCPUs on each pCPU (`share`).
//!
//! Where several threads of a core are used, a waking vCPU prefers an idle core to an idle thread
//! of a busy one, and domains with core scheduling never share a core with others at the same time
//! (`cores`).
//!
//! - **SC-1** A vCPU is in at most one queue, or is running or lazily idle on one pCPU, or is
//!   `Off`, or is being moved by one pCPU. Its place changes only under the lock of its home queue.
//!   Two queues are never locked at once.
//! - **SC-2** No wake-up is lost. Code that makes a vCPU runnable does so before it reads its
//!   place. Code that takes a vCPU off its pCPU does so before it checks whether the vCPU is
//!   runnable. Both use one total order.
//! - **SC-3** A vCPU's context is parked whenever its place is neither `Running` nor `LazyIdle`.
//! - **SC-4** No pCPU halts while a vCPU that it may run waits. A pCPU marks itself as idle
//!   before its last check of the queues, and code that queues a vCPU checks for idle pCPUs
//!   afterwards.

mod balance;
mod cores;
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

pub(crate) use cores::{Group, has_core_scheduling, set_core_scheduling};
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
