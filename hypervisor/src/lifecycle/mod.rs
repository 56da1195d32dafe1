//! Transitions of a domain: start, end, resume, and destruction until its last frame has been
//! released. The host ends with the initial domain.

mod destruction;
mod host_end;

pub(crate) use destruction::{advance_destruction, destruction_due, reap_zombies, tear_down_zombie_tables};
#[cfg(any(test, feature = "testing"))]
pub(crate) use destruction::{destroy_initial, forget_all, withdraw_initial};

use alloc::sync::Arc;

use crate::domain::{self, Domain, EndReason};
use crate::guest_log::host_log;
use crate::{event_channel, scheduler};

/// Starts a domain that has been built: its vCPUs may run.
pub(crate) fn start(domain: &Domain) {
    if domain.note_started() {
        scheduler::unpause(domain);
    }
}

/// Ends the domain for `reason` and stops its vCPUs. Only the first reason counts. If there is a
/// control domain, the domain stays in this state until it is resumed or destroyed; otherwise it is
/// destroyed now.
pub(crate) fn end(domain: &Arc<Domain>, reason: EndReason) {
    if !domain.note_ended(reason.clone()) {
        return;
    }
    scheduler::kick_all(domain);
    if domain.is_privileged() || domain::control_domain().is_none() {
        destruction::queue(domain);
    } else {
        host_log!(Info, "domain {} has ended: {reason}", domain.id().0);
        event_channel::report_end(domain, reason == EndReason::Suspend);
    }
}

/// Resumes a domain that has ended, for example by suspending itself.
pub(crate) fn resume(domain: &Domain) {
    if domain.note_resumed() {
        domain.scheduling.forget_shutdown_code();
        scheduler::unpause(domain);
    }
}

/// Marks the domain as dying and queues its destruction. If it has not ended, it ends first.
pub(crate) fn begin_destruction(domain: &Arc<Domain>) {
    if domain.start_dying() {
        scheduler::pause(domain);
        destruction::queue(domain);
    }
}
