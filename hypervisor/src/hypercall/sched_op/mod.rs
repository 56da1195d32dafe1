//! `sched_op`: giving the pCPU up, waiting for events, ending the domain, watchdogs.

use alloc::format;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::sched::{PinOverride, Poll, RemoteShutdown, Shutdown, Watchdog, op};
use machine::addr::GuestVirt;
use zerocopy::IntoBytes;

use crate::call::{CallError, CallResult, Caller};
use crate::domain::{Domain, EndReason};
use crate::lifecycle;
use crate::limits::{self, Limit};
use crate::{event_channel, scheduler};

/// The most ports that one poll may name.
pub(crate) const MAX_POLL_PORTS: u32 = 128;
/// Ports that can be looked at for a unit of the budget.
const PORTS_PER_UNIT: u32 = 2;

/// See the public header `sched.h`.
///
/// # Errors
/// `ENOSYS` for an operation that does not exist; the operations' own.
pub(crate) fn sched_op(caller: &mut Caller<'_>, operation: u32, argument: GuestVirt) -> CallResult {
    match operation {
        op::YIELD => {
            scheduler::yield_now(caller.vcpu);
            Ok(0)
        }
        op::BLOCK => Ok(block(caller)),
        op::SHUTDOWN => {
            let shutdown: Shutdown = caller.cpu.read(argument)?;
            end(caller.domain, shutdown.reason)
        }
        op::POLL => poll(caller, argument),
        op::REMOTE_SHUTDOWN => remote_shutdown(caller, argument),
        op::SHUTDOWN_CODE => {
            let shutdown: Shutdown = caller.cpu.read(argument)?;
            // The interface keeps eight bits.
            caller.domain.scheduling.latch_shutdown_code(shutdown.reason & 0xff);
            Ok(0)
        }
        op::WATCHDOG => watchdog(caller, argument),
        op::PIN_OVERRIDE => pin_override(caller, argument),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The form of this hypercall for the oldest kernels: three operations, the reason of a shutdown as the argument itself.
///
/// # Errors
/// `ENOSYS` for another operation.
pub(crate) fn sched_op_compat(caller: &mut Caller<'_>, operation: u32, argument: u64) -> CallResult {
    match operation {
        op::YIELD => {
            scheduler::yield_now(caller.vcpu);
            Ok(0)
        }
        op::BLOCK => Ok(block(caller)),
        op::SHUTDOWN => end(caller.domain, (argument & 0xff) as u32),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn block(caller: &Caller<'_>) -> u64 {
    caller.vcpu.info().upcall_mask().store(0, Ordering::SeqCst);
    scheduler::block(caller.vcpu);
    0
}

/// Ends a domain for the reason that it gives, or the one that was fixed before.
fn end(domain: &Arc<Domain>, reason: u32) -> CallResult {
    let code = domain.scheduling.shutdown_code().unwrap_or(reason);
    let reason = EndReason::from_code(code)
        .unwrap_or_else(|| EndReason::Killed(format!("shut down with the unknown reason {code}")));
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
    let mut ports = [0u32; MAX_POLL_PORTS as usize];
    let ports = &mut ports[..poll.port_count as usize];
    caller.cpu.read_bytes(GuestVirt::new(poll.ports), ports.as_mut_bytes())?;
    if !event_channel::may_poll(caller.domain, ports) {
        return Err(Errno::EINVAL.into());
    }
    caller.vcpu.time.stop_poll_limit();
    scheduler::start_polling(caller.vcpu, caller.domain, ports);
    // Polled first, then looked: a port that becomes pending in between wakes the vCPU.
    if event_channel::poll_ready(caller.domain, ports) {
        scheduler::wake(caller.vcpu);
    } else if poll.timeout != 0 {
        caller.vcpu.time.set_poll_limit(caller.vcpu, poll.timeout);
    }
    Ok(0)
}

fn remote_shutdown(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    let shutdown: RemoteShutdown = caller.cpu.read(argument)?;
    let domain = caller.target(shutdown.domain)?;
    if domain.id() == caller.domain.id() || !caller.domain.is_privileged() {
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

fn pin_override(caller: &Caller<'_>, argument: GuestVirt) -> CallResult {
    caller.check_control()?;
    let pin: PinOverride = caller.cpu.read(argument)?;
    match u32::try_from(pin.pcpu) {
        Ok(number) => scheduler::override_pin(caller.vcpu, number)?,
        Err(_) => scheduler::lift_pin_override(caller.vcpu)?,
    }
    Ok(0)
}

#[cfg(test)]
mod tests;
