//! `destroydomain`: returns when all is done but for what others hold.

use abi::errno::Errno;
use abi::xen::DomainId;
use alloc::sync::{Arc, Weak};

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::{self, Domain};
use crate::lifecycle;

/// Destroys the domain, in pieces.
pub(super) fn destroy(caller: &mut Caller<'_>, request: &Request) -> CallResult {
    // Whoever repeats the call finds by this that the domain which it began with is gone, even if its number has been given out anew.
    let begun = caller.vcpu.destroying.lock().take();
    if begun.is_some_and(|(id, begun)| id == request.domain && !is_known(&begun, id)) {
        return Ok(0);
    }
    let Some(target) = domain::by_id(request.domain) else {
        let is_dead = domain::is_gone_but_for_frames(request.domain);
        return if is_dead { Ok(0) } else { Err(Errno::ESRCH.into()) };
    };
    super::other(caller, &target)?;
    lifecycle::destroy(&target);
    let this = Arc::downgrade(&target);
    drop(target);
    while is_known(&this, request.domain) {
        lifecycle::destroy_some(&mut caller.budget);
        if caller.budget.is_exhausted() {
            *caller.vcpu.destroying.lock() = Some((request.domain, this));
            return Err(CallError::again());
        }
        // Where there is nothing to do but wait for another pCPU, that counts as work too.
        caller.budget.spend(64);
    }
    Ok(0)
}

/// Whether the domain is still the one with this number.
fn is_known(this: &Weak<Domain>, id: DomainId) -> bool {
    domain::by_id(id).is_some_and(|found| this.ptr_eq(&Arc::downgrade(&found)))
}
