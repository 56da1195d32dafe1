//! Pausing, resuming, and knocking on the door: what happens to a domain as a whole.

use abi::domctl::{SendTrigger, trigger};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;
use crate::{lifecycle, scheduler, time};

/// Pauses the domain; none of its vCPUs runs any more when this returns.
pub(super) fn pause(caller: &Caller<'_>, target: &Arc<Domain>) -> CallResult {
    super::other(caller, target)?.control.add_pause()?;
    scheduler::pause(target);
    if target.vcpus().iter().all(|vcpu| scheduler::wait_until_parked(vcpu)) {
        return Ok(0);
    }
    // Once more, when this pCPU has looked up.
    take_pause_back(target)?;
    Err(CallError::again())
}

/// Takes a pause back.
pub(super) fn unpause(target: &Arc<Domain>) -> CallResult {
    take_pause_back(target)?;
    Ok(0)
}

/// Takes a pause of the control domain's back. The first time, the domain begins to run: the tools
/// have filled its shared pages before, so what Paravane writes there is written now.
fn take_pause_back(target: &Arc<Domain>) -> Result<(), Errno> {
    target.control.remove_pause()?;
    if target.note_started() {
        time::init_domain(target);
    }
    scheduler::unpause(target);
    Ok(())
}

/// Lets a domain that has ended go on.
pub(super) fn resume(target: &Arc<Domain>) -> CallResult {
    lifecycle::resume(target);
    Ok(0)
}

/// Sends an NMI; buttons are for machines that have them.
pub(super) fn send_trigger(request: &Request, target: &Arc<Domain>) -> CallResult {
    let SendTrigger { trigger, vcpu } = request.argument();
    let vcpu = super::vcpu(target, vcpu)?;
    match trigger {
        trigger::NMI => {
            vcpu.nmi_pending.store(true, Ordering::SeqCst);
            scheduler::wake(vcpu);
            Ok(0)
        }
        trigger::POWER | trigger::SLEEP => Err(Errno::EINVAL.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}
