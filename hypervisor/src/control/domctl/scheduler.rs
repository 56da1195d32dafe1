//! `scheduler_op`: weight and cap of a domain, which all its vCPUs share.

use abi::domctl::{SchedulerCredit, scheduler, scheduler_command};
use abi::errno::Errno;
use alloc::sync::Arc;

use machine::integers::low_u16;

use crate::call::{CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;
use crate::scheduler::{set_cap, set_weight};

/// Returns or sets weight and cap. A weight of zero leaves the weight unchanged.
pub(super) fn scheduler_op(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let mut argument: SchedulerCredit = request.argument();
    if argument.scheduler != scheduler::CREDIT2 {
        return Err(Errno::EINVAL.into());
    }
    match argument.command {
        scheduler_command::GETINFO => {
            let (weight, cap) = target.scheduling.share();
            // Both were set as 16-bit numbers.
            (argument.weight, argument.cap) = (low_u16(weight.into()), low_u16(cap.into()));
            request.answer(caller, &argument)?;
        }
        scheduler_command::PUTINFO => {
            if argument.weight != 0 {
                set_weight(target, argument.weight)?;
            }
            set_cap(target, argument.cap);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
