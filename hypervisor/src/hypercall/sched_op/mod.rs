//! `sched_op`: yielding the pCPU, waiting for events, ending the domain, watchdogs.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::sched::{PinOverride, Poll, RemoteShutdown, Shutdown, Watchdog, op};
use machine::addr::GuestVirt;
use machine::integers::low_u8;
use machine::speculation::MaskedIndex;
use zerocopy::IntoBytes;

use crate::call::{CallError, CallResult, Caller, ControlPrivilege, operations};
use crate::domain::{Domain, EndReason, KillReason, Port};
use crate::lifecycle;
use crate::limits::{self, Limit};
use crate::{event_channel, scheduler};

/// Maximum number of ports in one poll.
pub(crate) const MAX_POLL_PORTS: u32 = 128;
/// Ports that are checked per unit of the budget.
const PORTS_PER_UNIT: u32 = 2;

operations! {
    /// Performs a `sched_op` (public header `sched.h`).
    pub(crate) fn sched_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult;
    names: op::NAMES;
    op::YIELD => yield_now(caller);
    op::BLOCK => block(caller);
    op::SHUTDOWN => shutdown(caller, argument);
    op::POLL => poll(caller, argument);
    op::REMOTE_SHUTDOWN: OwnOrControl => remote_shutdown(caller, argument);
    op::SHUTDOWN_CODE => shutdown_code(caller, argument);
    op::WATCHDOG => watchdog(caller, argument);
    op::PIN_OVERRIDE: Control(control) => pin_override(caller, control, argument);
}

/// The form of the hypercall for the oldest kernels: three operations, with the shutdown reason as
/// the argument itself.
///
/// # Errors
/// `ENOSYS` for another operation.
pub(crate) fn sched_op_compat(caller: &mut Caller<'_>, operation: u32, argument: u64) -> CallResult {
    match operation {
        op::YIELD => yield_now(caller),
        op::BLOCK => block(caller),
        op::SHUTDOWN => end(caller.domain, low_u8(argument).into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn yield_now(caller: &Caller<'_>) -> CallResult {
    scheduler::yield_now(caller.vcpu);
    Ok(0)
}

fn block(caller: &Caller<'_>) -> CallResult {
    caller.vcpu.info().upcall_mask().store(0, Ordering::SeqCst);
    scheduler::block(caller.vcpu);
    Ok(0)
}

fn shutdown(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let shutdown: Shutdown = caller.cpu.read(argument)?;
    end(caller.domain, shutdown.reason)
}

/// Fixes the reason of a later shutdown. The interface uses its low eight bits.
fn shutdown_code(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let shutdown: Shutdown = caller.cpu.read(argument)?;
    caller.domain.scheduling.latch_shutdown_code(shutdown.reason & 0xff);
    Ok(0)
}

/// Ends a domain for the given reason, or for the one that was fixed before.
fn end(domain: &Arc<Domain>, reason: u32) -> CallResult {
    let code = domain.scheduling.shutdown_code().unwrap_or(reason);
    let reason = EndReason::from_code(code).unwrap_or(EndReason::Killed(KillReason::UnknownShutdownReason(code)));
    lifecycle::end(domain, reason);
    Ok(0)
}

fn poll(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let poll: Poll = caller.cpu.read(argument)?;
    if poll.port_count > MAX_POLL_PORTS {
        limits::met(caller.domain, Limit::PolledPorts);
        return Err(Errno::EINVAL.into());
    }
    caller.budget.spend(poll.port_count / PORTS_PER_UNIT);
    let mut ports = [Port::NONE; MAX_POLL_PORTS as usize];
    let ports = ports.part_mut(..poll.port_count as usize).ok_or(Errno::EINVAL)?;
    caller.cpu.read_bytes(GuestVirt::new(poll.ports), ports.as_mut_bytes())?;
    if !event_channel::may_poll(caller.domain, ports) {
        return Err(Errno::EINVAL.into());
    }
    caller.vcpu.time.stop_poll_limit();
    scheduler::start_polling(caller.vcpu, caller.domain, ports);
    // The vCPU starts to poll before the check, so that a port that becomes pending in between
    // wakes it.
    if event_channel::poll_ready(caller.domain, ports) {
        scheduler::wake(caller.vcpu);
    } else if poll.timeout != 0 {
        caller.vcpu.time.set_poll_limit(caller.vcpu, poll.timeout);
    }
    Ok(0)
}

/// Shuts down another domain, for the control domain only; a domain shuts itself down with
/// `shutdown`. The request is checked before the privilege, like in Xen.
fn remote_shutdown(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let shutdown: RemoteShutdown = caller.cpu.read(argument)?;
    let domain = caller.target(shutdown.domain)?;
    caller.control()?;
    if domain.id() == caller.domain.id() {
        return Err(Errno::EPERM.into());
    }
    end(&domain, shutdown.reason)
}

fn watchdog(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let watchdog: Watchdog = caller.cpu.read(argument)?;
    let watchdogs = &caller.domain.watchdogs;
    match watchdog {
        Watchdog { id: 0, timeout: 0 } => Err(Errno::EINVAL.into()),
        Watchdog { id: 0, timeout } => watchdogs.start(caller.domain, timeout).map_err(CallError::from),
        Watchdog { id, timeout } => {
            watchdogs.set_back(caller.domain, id, timeout)?;
            Ok(0)
        }
    }
}

fn pin_override(caller: &Caller<'_>, _: ControlPrivilege, argument: GuestVirt) -> CallResult {
    let pin: PinOverride = caller.cpu.read(argument)?;
    match u32::try_from(pin.pcpu) {
        Ok(number) => scheduler::override_pin(caller.vcpu, number)?,
        Err(_) => scheduler::lift_pin_override(caller.vcpu)?,
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
