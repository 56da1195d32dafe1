//! Operations on a domain's life: pause, resume and triggers.

use abi::domctl::{SendTrigger, trigger};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::Domain;
use crate::{lifecycle, scheduler, time};

/// Pauses the domain. None of its vCPUs is running when this returns successfully.
pub(super) fn pause(caller: &Caller<'_>, target: &Arc<Domain>) -> CallResult {
    super::other(caller, target)?.control.add_pause()?;
    scheduler::pause(target);
    if target.vcpus().iter().all(|vcpu| scheduler::wait_until_parked(vcpu)) {
        return Ok(0);
    }
    // The call is restarted after this pCPU has checked for other work.
    take_pause_back(target)?;
    Err(CallError::again())
}

/// Removes a pause.
pub(super) fn unpause(target: &Arc<Domain>) -> CallResult {
    take_pause_back(target)?;
    Ok(0)
}

/// Removes a pause by the control domain. The first time, the domain starts to run: the tools have
/// written its shared pages before, so Paravane initialises its part of them here.
fn take_pause_back(target: &Arc<Domain>) -> Result<(), Errno> {
    target.control.remove_pause()?;
    if target.note_started() {
        time::init_domain(target);
    }
    scheduler::unpause(target);
    Ok(())
}

/// Resumes a domain that has ended.
pub(super) fn resume(target: &Arc<Domain>) -> CallResult {
    lifecycle::resume(target);
    Ok(0)
}

/// Sends an NMI. Triggers for buttons are refused.
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
