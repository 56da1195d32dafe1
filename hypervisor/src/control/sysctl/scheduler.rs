//! `sched_id` and `scheduler_op`: the scheduler has weights and caps like credit2, and reports
//! itself as credit2.

use abi::domctl::scheduler;
use abi::errno::Errno;
use abi::sysctl::{SchedulerCredit2, SchedulerId, credit_limit, scheduler_command};

use super::{Request, cpu_pool};
use crate::call::{CallResult, Caller};
use crate::scheduler::{rate_limit, set_rate_limit};

/// The scheduler's id in the interface.
pub(super) const SCHEDULER: u32 = scheduler::CREDIT2;

/// Returns the scheduler's id.
pub(super) fn id(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    request.answer(caller, &SchedulerId { scheduler: SCHEDULER })?;
    Ok(0)
}

/// Returns or sets the global setting: the time that a vCPU runs before a waking one may preempt
/// it.
pub(super) fn settings(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    let mut argument: SchedulerCredit2 = request.argument();
    if argument.cpupool != cpu_pool::POOL {
        return Err(Errno::ESRCH.into());
    }
    if argument.scheduler != SCHEDULER {
        return Err(Errno::EINVAL.into());
    }
    match argument.command {
        scheduler_command::GETINFO => {
            argument.rate_limit_us = rate_limit();
            request.answer(caller, &argument)?;
        }
        scheduler_command::PUTINFO => {
            let limit = argument.rate_limit_us;
            if limit != 0 && !(credit_limit::RATELIMIT_MIN..=credit_limit::RATELIMIT_MAX).contains(&limit) {
                return Err(Errno::EINVAL.into());
            }
            set_rate_limit(limit);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
