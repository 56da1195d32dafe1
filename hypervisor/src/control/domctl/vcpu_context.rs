//! `setvcpucontext` and `getvcpucontext`: the complete state of a parked vCPU.

use abi::arch_x86_64::{VcpuGuestContext, vgcf};
use abi::domctl::VcpuContext;
use abi::errno::Errno;
use alloc::boxed::Box;
use alloc::sync::Arc;
use machine::addr::GuestVirt;
use machine::context::GuestContext;

use crate::call::{CallError, CallResult, Caller};
use crate::control::Request;
use crate::domain::{Domain, Vcpu};
use crate::scheduler;
use crate::vcpu_context as state;

/// Runs `act` with the parked state of a vCPU of another domain, which is paused meanwhile.
///
/// # Errors
/// Those of [`at_rest_prepared`].
pub(super) fn at_rest<R>(
    caller: &mut Caller<'_>,
    target: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    act: impl FnOnce(&mut GuestContext) -> Result<R, CallError>,
) -> Result<R, CallError> {
    at_rest_prepared(caller, target, vcpu, |_| Ok(()), |context, ()| act(context))
}

/// Like [`at_rest`], and passes the result of `prepare` to `act`. Only `act` runs with the state
/// locked.
///
/// # Errors
/// `EINVAL` for the caller's own domain and for one that is being destroyed; a continuation if the
/// vCPU does not park in time; those of `prepare` and `act`.
fn at_rest_prepared<P, R>(
    caller: &mut Caller<'_>,
    target: &Arc<Domain>,
    vcpu: &Arc<Vcpu>,
    prepare: impl FnOnce(&mut Caller<'_>) -> Result<P, CallError>,
    act: impl FnOnce(&mut GuestContext, P) -> Result<R, CallError>,
) -> Result<R, CallError> {
    super::other(caller, target)?;
    scheduler::pause(target);
    let result = if !scheduler::wait_until_parked(vcpu) {
        Err(CallError::again())
    } else {
        prepare(caller).and_then(|prepared| match vcpu.parked().as_deref_mut() {
            Some(context) => act(context, prepared),
            None if target.is_dying() => Err(Errno::EINVAL.into()),
            None => Err(CallError::again()),
        })
    };
    scheduler::unpause(target);
    result
}

/// Sets the state of a vCPU.
pub(super) fn set(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let VcpuContext { vcpu, context, .. } = request.argument();
    let vcpu = super::numbered(target, vcpu)?;
    if context == 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let wanted: Box<VcpuGuestContext> = Box::new(caller.cpu.read(GuestVirt::new(context))?);
    let prepare = |caller: &mut Caller<'_>| state::prepare(target, &wanted, &mut caller.budget);
    at_rest_prepared(caller, target, vcpu, prepare, |context, prepared| {
        state::apply(target, context, &wanted, prepared)?;
        state::apply_to_vcpu(target, vcpu, &wanted);
        Ok(())
    })?;
    if vcpu.set_up(wanted.flags & vgcf::ONLINE != 0) {
        scheduler::resume(vcpu);
    }
    Ok(0)
}

/// Returns the state of a vCPU.
pub(super) fn get(caller: &mut Caller<'_>, request: &Request, target: &Arc<Domain>) -> CallResult {
    let VcpuContext { vcpu, context, .. } = request.argument();
    let vcpu = super::numbered(target, vcpu)?;
    if !vcpu.is_initialised() {
        return Err(Errno::ENODATA.into());
    }
    let state = at_rest(caller, target, vcpu, |context| Ok(state::describe(target, vcpu, context)))?;
    caller.cpu.write(GuestVirt::new(context), &*state)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::VcpuId;
    use crate::testing::Guest;

    #[test]
    fn a_context_is_prepared_without_the_vcpus_lock() {
        let mut control = Guest::privileged(0, 2);
        let guest = Guest::new(1, 2);
        let vcpu = guest.domain.vcpu(VcpuId::new(1)).expect("a parked vCPU");
        let prepare = |_: &mut Caller<'_>| Ok(vcpu.parked().is_some());
        let done = at_rest_prepared(&mut control.caller(), &guest.domain, vcpu, prepare, |_, is_parked| Ok(is_parked));
        assert!(matches!(done, Ok(true)), "{done:?}");
    }
}
