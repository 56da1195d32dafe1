//! Event channels between domains, between vCPUs, and from Paravane to a guest. Both ABIs are
//! supported, 2-level and FIFO.
//!
//! Each domain has one lock for its ports ([`ports::Table`]). Delivery takes it, sets bits in guest
//! memory, releases it and only then wakes vCPUs. Code that needs the ports of two domains locks
//! those of the lower domain id first.
//!
//! - **EC-1** If a port is bound to a port of another domain, that port is bound to it. Both change
//!   under both locks.
//! - **EC-2** A port recorded for a virtual interrupt in `virqs` is in use for that interrupt.
//! - **EC-3** A port that is not in use is not pending. Its pending bit is cleared when it is
//!   closed.
//! - **EC-4** No value read from guest memory is used as a link or an index.
//! - **EC-5** The time for which the lock is held depends neither on the number of the domain's
//!   ports nor on the contents of its event words, since all senders to the domain wait for this
//!   lock.

mod dump;
mod fifo;
mod global;
pub(crate) mod op;
mod port_set;
pub(crate) mod ports;
#[cfg(test)]
mod tests;
mod two_level;

pub(crate) use dump::describe;
pub(crate) use global::{raise_for_control, report_end, set_global_handler};
pub(crate) use op::{OPERATIONS, event_channel_op, event_channel_op_compat};
pub(crate) use ports::Consumer;

use alloc::sync::Arc;

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::frames::Budget;
use machine::sync::{Level, SpinLock, SpinLockGuard};

use self::ports::{NoPort, State, Table};
use crate::call::CallError;
use crate::domain::{Domain, Port, Vcpu, VcpuId};
use crate::hardware;
use crate::limits::{self, Limit};

/// Cost of closing a port, and of freeing the memory of 64 ports, in units of the budget.
const CLOSE_COST: u32 = 64;
const BUCKET_COST: u32 = 8;

/// A domain's event channels.
pub struct EventChannels {
    table: SpinLock<Table>,
}

impl EventChannels {
    /// Event channels of a new domain: no port in use, 2-level ABI. The initial domain needs ports
    /// for the devices of many guests, so its limit is the maximum.
    pub fn new(vcpus: usize, privileged: bool) -> Self {
        let limit = if privileged { ports::HIGHEST } else { ports::DEFAULT_LIMIT };
        Self { table: SpinLock::new(Level::Event, Table::new(vcpus, limit)) }
    }

    /// Sets the highest port that the domain may allocate from now on.
    pub fn set_limit(&self, highest: Port) {
        self.lock().set_limit(highest);
    }

    /// Whether the port is in use.
    pub fn is_in_use(&self, port: Port) -> bool {
        self.lock().peer(port).is_ok()
    }

    /// Closes all ports of a domain that is being destroyed, and releases its pages. Returns
    /// `false` if the budget is exhausted first; the function is then called again and continues.
    pub fn close_all(&self, domain: &Arc<Domain>, budget: &mut Budget) -> bool {
        loop {
            let mut table = self.lock();
            let port = table.close_from;
            if port >= table.end() {
                break;
            }
            if budget.is_exhausted() {
                return false;
            }
            let in_use = table.peer(port).is_ok();
            if !in_use {
                table.close_from = port.next();
            }
            drop(table);
            budget.spend(if in_use { CLOSE_COST } else { 1 });
            // If the peer has changed in the meantime, the next round handles that.
            if in_use && close(domain, port).is_err() {
                return false;
            }
        }
        let fifo = self.lock().stop_fifo();
        let Ok(_) = fifo else { return false };
        while !budget.is_exhausted() {
            let bucket = self.lock().remove_bucket();
            if bucket.is_none() {
                return true;
            }
            drop(bucket);
            budget.spend(BUCKET_COST);
        }
        false
    }

    /// Ensures that the domain has a free port, if its limit allows another one. Done before the
    /// lock is taken to allocate the port, because this allocates memory.
    fn make_room(&self) -> Result<(), Errno> {
        let needs_bucket = self.lock().needs_bucket();
        if !needs_bucket {
            return Ok(());
        }
        let bucket = ports::new_bucket()?;
        self.lock().add_bucket(bucket)
    }

    /// Counts the references of the FIFO ABI, for the recount of the frame table.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn count_held(&self, tally: &mut crate::testing::Tally) {
        if let Some(fifo) = &self.lock().fifo {
            fifo.count_held(tally);
        }
    }

    fn lock(&self) -> SpinLockGuard<'_, Table> {
        self.table.lock()
    }
}

/// Calls `act` with the ports of `local` locked and, if it is another domain, those of `remote`.
fn with_both<R>(local: &Domain, remote: &Domain, act: impl FnOnce(&mut Table, Option<&mut Table>) -> R) -> R {
    if local.id() == remote.id() {
        return act(&mut local.events.lock(), None);
    }
    if local.id() < remote.id() {
        let mut first = local.events.lock();
        let mut second = remote.events.table.lock_as(Level::EventPeer);
        act(&mut first, Some(&mut second))
    } else {
        let mut first = remote.events.lock();
        let mut second = local.events.table.lock_as(Level::EventPeer);
        act(&mut second, Some(&mut first))
    }
}

/// Makes a per-vCPU virtual interrupt (`VIRQ_TIMER`, `VIRQ_DEBUG`, …) pending, if the guest has
/// bound it.
pub(crate) fn raise_virq(vcpu: &Arc<Vcpu>, virq: u32) {
    if let Some(domain) = vcpu.domain() {
        raise_bound(&domain, vcpu.id(), virq);
    }
}

/// Makes a global virtual interrupt of the domain pending, if the guest has bound it.
pub(crate) fn raise_global_virq(domain: &Arc<Domain>, virq: u32) {
    raise_bound(domain, VcpuId::BOOT, virq);
}

fn raise_bound(domain: &Arc<Domain>, vcpu: VcpuId, virq: u32) {
    let mut table = domain.events.lock();
    let Some(port) = table.virq_port(vcpu, virq) else { return };
    let raised = table.raise(domain, port);
    drop(table);
    raised.act(domain);
}

/// Allocates a port of a domain with this `state`, which notifies `vcpu`.
///
/// # Errors
/// `ENOSPC` if the domain has no free port, `EINVAL` if it is being destroyed, `ENOMEM`.
fn allocate(domain: &Arc<Domain>, state: State, vcpu: VcpuId) -> Result<Port, NoPort> {
    domain.events.make_room()?;
    let mut table = domain.events.lock();
    let found = table.find_free(domain);
    let Ok(port) = found else {
        drop(table);
        note_refusal(domain, &found);
        return found;
    };
    table.occupy(port, state, vcpu)?;
    Ok(port)
}

/// Logs that the domain has no free port, if that is the reason.
fn note_refusal<T>(domain: &Domain, result: &Result<T, NoPort>) {
    if matches!(result, Err(NoPort::Errno(Errno::ENOSPC))) {
        limits::met(domain, Limit::EventChannels);
    }
}

/// Allocates a port that is bound to Paravane. It notifies vCPU 0 unless the guest changes that.
///
/// # Errors
/// `ENOSPC` if the domain has no free port, `EINVAL` if it is being destroyed, `EAGAIN` if its
/// guest keeps the free ones linked.
pub(crate) fn allocate_for_paravane(domain: &Arc<Domain>, consumer: Consumer) -> Result<Port, Errno> {
    allocate(domain, State::Paravane(consumer), VcpuId::BOOT).map_err(|reason| match reason {
        NoPort::Errno(errno) => errno,
        NoPort::Later => Errno::EAGAIN,
    })
}

/// Makes the port of a physical interrupt pending, unless the port has been reused.
pub(crate) fn raise_interrupt(domain: &Arc<Domain>, port: Port, number: u32) {
    let mut table = domain.events.lock();
    if !table.channel(port).is_ok_and(|channel| matches!(channel.state, State::Pirq(bound) if bound == number)) {
        return;
    }
    let raised = table.raise(domain, port);
    drop(table);
    raised.act(domain);
}

/// Makes a port from [`allocate_for_paravane`] pending, unless the guest has closed it.
pub(crate) fn notify_guest(domain: &Arc<Domain>, port: Port) {
    let mut table = domain.events.lock();
    let is_ours = table.channel(port).is_ok_and(|channel| matches!(channel.state, State::Paravane(_)));
    if !is_ours {
        return;
    }
    let raised = table.raise(domain, port);
    drop(table);
    raised.act(domain);
}

/// Whether all `ports` exist, so that a vCPU may poll them.
pub(crate) fn may_poll(domain: &Domain, ports: &[Port]) -> bool {
    let end = domain.events.lock().end();
    ports.iter().all(|&port| port < end)
}

/// Whether any of `ports` is pending, masked or not. For a vCPU that polls.
pub(crate) fn poll_ready(domain: &Domain, ports: &[Port]) -> bool {
    let table = domain.events.lock();
    ports.iter().any(|&port| table.is_pending(domain, port))
}

/// Closes a port and unbinds its peer.
///
/// # Errors
/// `EINVAL` if the port is not in use. `Continue` if its peer has changed concurrently.
fn close(domain: &Arc<Domain>, port: Port) -> Result<(), CallError> {
    let mut table = domain.events.lock();
    let peer = table.peer(port)?.cloned();
    let remote = peer.as_ref().and_then(|peer| peer.domain.upgrade());
    let (Some(peer), Some(remote)) = (peer, remote) else {
        let pirq = if let State::Pirq(number) = table.channel(port)?.state { Some(number) } else { None };
        table.release(domain, port)?;
        drop(table);
        if let Some((number, hardware)) = pirq.zip(hardware::of(domain)) {
            hardware::interrupts::unbind(hardware, number, port);
        }
        return Ok(());
    };
    drop(table);
    with_both(domain, &remote, |local, other| {
        if !local.peer(port)?.is_some_and(|now| now.is(&peer)) {
            return Err(CallError::again());
        }
        let remote_table = match other {
            Some(table) => table,
            None => &mut *local,
        };
        // EC-1: the peer is bound to this port.
        if let Ok(channel) = remote_table.channel_mut(peer.port) {
            channel.state = State::Unbound(domain.id());
        }
        local.release(domain, port)?;
        Ok(())
    })
}

/// Delivers an event to the peer of a port, if it is still bound to the sender's port. Returns the
/// cost of [`Raised::act`](ports::Raised::act).
fn deliver(remote: &Arc<Domain>, port: Port, sender: DomainId, sender_port: Port) -> u32 {
    let mut table = remote.events.lock();
    if !matches!(table.peer(port), Ok(Some(peer)) if peer.id == sender && peer.port == sender_port) {
        return 0;
    }
    let raised = table.raise(remote, port);
    drop(table);
    raised.act(remote)
}
