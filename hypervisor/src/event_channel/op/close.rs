//! `close`, and `reset`, which closes all ports.

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::event_channel::{Close, Reset};
use machine::addr::GuestVirt;

use super::RESET_CONTINUED;
use crate::call::{CallError, CallResult, Caller};
use crate::domain::Port;
use crate::event_channel::{CLOSE_COST, close as close_port};

/// Cost of releasing the FIFO ABI's pages, in units of the budget.
const COST_OF_FIFO: u32 = 512;

pub(super) fn close(caller: &mut Caller<'_>, argument: GuestVirt) -> CallResult {
    let Close { port } = caller.cpu.read(argument)?;
    close_port(caller.domain, Port::new(port))?;
    Ok(0)
}

/// Closes all ports and returns to the 2-level ABI. A domain other than the caller must be paused.
pub(super) fn reset(caller: &mut Caller<'_>, argument: GuestVirt, continued: bool) -> CallResult {
    let arguments: Reset = caller.cpu.read(argument)?;
    let domain = caller.target(arguments.domain)?;
    if !Arc::ptr_eq(&domain, caller.domain) && !domain.is_paused() {
        return Err(Errno::EINVAL.into());
    }
    let mut table = domain.events.lock();
    if table.reset_from.is_some() != continued {
        return Err(Errno::EBUSY.into());
    }
    // Two vCPUs that continue the same reset concurrently only close the same ports.
    let mut port = table.reset_from.unwrap_or(Port::NONE.next());
    table.reset_from = Some(port);
    drop(table);
    loop {
        let mut table = domain.events.lock();
        if port >= table.end() {
            table.reset_from = None;
            let fifo = table.stop_fifo()?;
            drop(table);
            if fifo.is_some() {
                caller.budget.spend(COST_OF_FIFO);
            }
            return Ok(0);
        }
        table.reset_from = Some(port);
        let in_use = table.peer(port).is_ok();
        drop(table);
        if caller.budget.is_exhausted() {
            return Err(CallError::again().with_argument(0, RESET_CONTINUED.into()));
        }
        caller.budget.spend(if in_use { CLOSE_COST } else { 1 });
        if in_use && let Err(CallError::Continue(_)) = close_port(&domain, port) {
            continue;
        }
        port = port.next();
    }
}
