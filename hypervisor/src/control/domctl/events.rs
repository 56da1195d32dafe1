//! Receivers of notifications: the host's global VIRQs, and the suspension of a domain.

use abi::domctl::{SetVirqHandler, Subscribe};
use abi::errno::Errno;
use alloc::sync::Arc;

use crate::call::CallResult;
use crate::control::Request;
use crate::domain::{Domain, Port};
use crate::event_channel;

/// Binds a global VIRQ of the host to the domain.
pub(super) fn set_virq_handler(request: &Request, target: &Arc<Domain>) -> CallResult {
    let SetVirqHandler { virq } = request.argument();
    event_channel::set_global_handler(target, virq)?;
    Ok(0)
}

/// Chooses the domain's port whose peer is notified when the domain has suspended.
pub(super) fn subscribe(request: &Request, target: &Arc<Domain>) -> CallResult {
    let Subscribe { port } = request.argument();
    let port = Port::new(port).non_zero();
    if port.is_some_and(|port| !target.events.is_in_use(port)) {
        return Err(Errno::EINVAL.into());
    }
    target.control.set_suspend_port(port);
    Ok(0)
}
