//! Who is told of what: the host's virtual interrupts, and that a domain has suspended itself.

use abi::domctl::{SetVirqHandler, Subscribe};
use abi::errno::Errno;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::call::CallResult;
use crate::control::Request;
use crate::domain::Domain;
use crate::event_channel;

/// Gives a virtual interrupt of the host to the domain.
pub(super) fn set_virq_handler(request: &Request, target: &Arc<Domain>) -> CallResult {
    let SetVirqHandler { virq } = request.argument();
    event_channel::set_global_handler(target, virq)?;
    Ok(0)
}

/// Chooses the port of the domain whose peer is told when the domain has suspended itself.
pub(super) fn subscribe(request: &Request, target: &Arc<Domain>) -> CallResult {
    let Subscribe { port } = request.argument();
    if port != 0 && !target.events.is_in_use(port) {
        return Err(Errno::EINVAL.into());
    }
    target.control.suspend_port.store(port, Ordering::SeqCst);
    Ok(0)
}
