//! What happens to a domain as a whole: its start, its end, its destruction up to the return of its
//! last frame, and the end of the host with that of the initial domain.

mod destroy;
mod host_end;

pub(crate) use destroy::{conclude_emptied, destroy_some, destruction_due, tear_down_zombies};
#[cfg(any(test, feature = "testing"))]
pub(crate) use destroy::{destroy_initial, forget_all, withdraw_initial};

use alloc::sync::Arc;

use crate::domain::{self, Domain, EndReason};
use crate::guest_log::host_log;
use crate::{event_channel, scheduler};

/// Building is done: the domain's vCPUs may run.
pub(crate) fn start(domain: &Domain) {
    if domain.note_started() {
        scheduler::unpause(domain);
    }
}

/// Ends the domain for `reason`: its vCPUs stop. The first reason counts. On a host with a control
/// domain it stays like that until that one resumes or destroys it; otherwise it is destroyed.
pub(crate) fn end(domain: &Arc<Domain>, reason: EndReason) {
    if !domain.note_ended(reason.clone()) {
        return;
    }
    scheduler::kick_all(domain);
    if domain.is_privileged() || domain::control_domain().is_none() {
        destroy::note_ended(domain);
    } else {
        host_log!(Info, "domain {} has ended: {reason}", domain.id().0);
        event_channel::report_end(domain, reason == EndReason::Suspend);
    }
}

/// Lets a domain that has ended, for example by suspending itself, run again.
pub(crate) fn resume(domain: &Domain) {
    if domain.note_resumed() {
        domain.scheduling.forget_shutdown_code();
        scheduler::unpause(domain);
    }
}

/// Ends the domain, if it has not ended, and begins to destroy it.
pub(crate) fn destroy(domain: &Arc<Domain>) {
    if domain.start_dying() {
        scheduler::pause(domain);
        destroy::note_ended(domain);
    }
}
