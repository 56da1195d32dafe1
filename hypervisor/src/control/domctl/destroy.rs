//! `destroydomain`: returns once the domain has relinquished its resources. It does not wait for
//! frames that other domains hold.

use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::{Arc, Weak};

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::{self, Domain};
use crate::lifecycle;

/// Destroys the domain, a budget at a time.
pub(super) fn destroy(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    // Lets a restarted call detect that its target is gone even if the domain id was reused.
    let begun = caller.vcpu.destroying.lock().take();
    if begun.is_some_and(|(id, begun)| id == request.domain && !is_known(&begun, id)) {
        return Ok(0);
    }
    let Some(target) = domain::by_id(request.domain) else {
        let is_dead = domain::is_zombie(request.domain);
        return if is_dead { Ok(0) } else { Err(Errno::ESRCH.into()) };
    };
    super::other(caller, &target)?;
    lifecycle::begin_destruction(&target);
    let this = Arc::downgrade(&target);
    drop(target);
    while is_known(&this, request.domain) {
        lifecycle::advance_destruction(&mut caller.budget);
        if caller.budget.is_exhausted() {
            *caller.vcpu.destroying.lock() = Some((request.domain, this));
            return Err(CallError::again());
        }
        // Waiting for another pCPU spends budget too.
        caller.budget.spend(64);
    }
    Ok(0)
}

/// Whether the domain is still in the table under this id.
fn is_known(this: &Weak<Domain>, id: DomainId) -> bool {
    domain::by_id(id).is_some_and(|found| this.ptr_eq(&Arc::downgrade(&found)))
}
