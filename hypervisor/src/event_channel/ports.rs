//! The ports of one domain: their bindings and the vCPUs that they notify.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec;
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::event_channel::{fifo as fifo_abi, two_level as two_level_abi};
use abi::xen::{DomainId, virq};
use machine::heap;
use machine::integers::low_u32;
use machine::speculation::MaskedIndex;

use super::fifo::{Fifo, FifoPort};
use super::port_set::{PORTS_PER_WORD, PortSet};
use super::two_level;
use crate::call::CallError;
use crate::domain::{Domain, Port, VcpuId};
use crate::scheduler;

/// Number of ports in a bucket, whose bits share a word. Buckets are allocated as a domain needs
/// them.
pub(super) const BUCKET: u32 = PORTS_PER_WORD;
/// The highest port of a domain, unless its creator specifies another.
pub(crate) const DEFAULT_LIMIT: Port = Port::new(1023);
/// The highest port of the FIFO ABI.
pub(crate) const HIGHEST: Port = Port::new(fifo_abi::NR_CHANNELS - 1);
/// Number of virtual interrupts.
pub(super) const VIRQS: usize = virq::COUNT as usize;

/// A port number of a domain.
/// A port by number, whether or not it exists.
/// The plain number.
/// A part of Paravane that is the other end of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Consumer {
    /// Its name, for the debug key.
    pub name: &'static str,
    /// Called without a lock when the domain sends an event on the port.
    pub notified: fn(&Arc<Domain>),
}

/// One end of a channel between domains.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) domain: Weak<Domain>,
    pub(super) id: DomainId,
    pub(super) port: Port,
}

impl Peer {
    pub(super) fn new(domain: &Arc<Domain>, port: Port) -> Self {
        Self { domain: Arc::downgrade(domain), id: domain.id(), port }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.domain.ptr_eq(&other.domain) && self.port == other.port
    }
}

/// The binding of a port.
#[derive(Debug)]
pub(super) enum State {
    Free,
    /// Port zero, which is never allocated.
    Reserved,
    /// May be bound by this domain.
    Unbound(DomainId),
    Interdomain(Peer),
    Paravane(Consumer),
    Virq(u32),
    /// A physical interrupt, by number.
    Pirq(u32),
    Ipi,
}

/// A port.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) state: State,
    /// The vCPU that the port notifies.
    pub(super) vcpu: VcpuId,
    pub(super) fifo: FifoPort,
}

impl Channel {
    const fn free() -> Self {
        Self { state: State::Free, vcpu: VcpuId::BOOT, fifo: FifoPort::new() }
    }
}

/// The work that remains, without a lock, after a port has been made pending.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Raised {
    pub(super) port: Port,
    /// The vCPU to notify.
    pub(super) notify: Option<VcpuId>,
    /// The port was not pending before, so vCPUs may be polling it.
    pub(super) newly: bool,
}

impl Raised {
    pub(super) const fn nothing(port: Port) -> Self {
        Self { port, notify: None, newly: false }
    }

    /// Notifies the vCPU and wakes polling vCPUs. Returns the cost of the latter in units of the
    /// budget, since the guest determines their number.
    pub(super) fn act(self, domain: &Arc<Domain>) -> u32 {
        if let Some(vcpu) = self.notify.and_then(|number| domain.vcpu(number)) {
            scheduler::notify(vcpu);
        }
        if self.newly { crate::scheduler::wake_pollers(domain, self.port) * COST_OF_WAKING } else { 0 }
    }
}

/// Cost of waking a polling vCPU, in units of the budget.
pub(super) const COST_OF_WAKING: u32 = 8;

/// Number of free ports whose FIFO words are checked before a call is preempted.
pub(super) const LOOKS: u32 = 16;
/// Number of ports set aside that are checked again per allocation, and per allocation if no other
/// port is free.
const SECOND_LOOKS: u32 = 2;
const LAST_LOOKS: u32 = 32;

/// The reason why no port is available.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoPort {
    /// No port will become available.
    Errno(Errno),
    /// A port may become available: the caller is preempted and tries again.
    Later,
}

impl From<Errno> for NoPort {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<NoPort> for CallError {
    fn from(reason: NoPort) -> Self {
        match reason {
            NoPort::Errno(errno) => Self::Errno(errno),
            NoPort::Later => Self::again(),
        }
    }
}

/// Ports that are allocated together.
type Bucket = Box<[Channel; BUCKET as usize]>;

/// Creates free ports, to be added to a table.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn new_bucket() -> Result<Bucket, Errno> {
    if heap::is_short() {
        return Err(Errno::ENOMEM);
    }
    let mut channels = Vec::new();
    channels.try_reserve_exact(BUCKET as usize).map_err(|_| Errno::ENOMEM)?;
    channels.extend((0..BUCKET).map(|_| Channel::free()));
    channels.into_boxed_slice().try_into().map_err(|_| Errno::ENOMEM)
}

/// All ports of a domain.
///
/// A free port is a member of either `free` or `aside`, and a port in use of neither. The time of
/// an operation depends neither on the number of ports nor on the contents of their event words.
pub(super) struct Table {
    buckets: Vec<Bucket>,
    /// The highest port that may be allocated.
    limit: Port,
    /// Number of ports in use.
    used: u32,
    /// Free ports, except those set aside.
    free: PortSet,
    /// Free ports that were still linked in the guest's FIFO queue when they were last checked.
    aside: PortSet,
    /// The port at which the check of the ports set aside continues.
    next_aside: Port,
    /// Whether that check has restarted at the first port since a port was last found.
    from_first: bool,
    /// The port of each virtual interrupt of each vCPU, or `Port::NONE`. Those of global interrupts
    /// are stored for vCPU 0.
    virqs: Vec<[Port; VIRQS]>,
    /// The state of the FIFO ABI, once the guest has selected it.
    pub(super) fifo: Option<Fifo>,
    /// The port at which a reset in progress continues.
    pub(super) reset_from: Option<Port>,
    /// The port at which the closing of all ports of a destroyed domain continues.
    pub(super) close_from: Port,
}

impl Table {
    /// A table without ports in use, for a domain with this many vCPUs and ports up to `limit`.
    pub(super) fn new(vcpus: usize, limit: Port) -> Self {
        Self {
            buckets: Vec::new(),
            limit,
            used: 0,
            free: PortSet::new(),
            aside: PortSet::new(),
            next_aside: Port::NONE,
            from_first: false,
            virqs: vec![[Port::NONE; VIRQS]; vcpus],
            fifo: None,
            reset_from: None,
            close_from: Port::NONE.next(),
        }
    }

    pub(super) fn set_limit(&mut self, limit: Port) {
        self.limit = limit.min(HIGHEST);
    }

    /// The number of ports set aside.
    #[cfg(test)]
    pub(super) fn put_aside(&self) -> u32 {
        let first = self.aside.first_from(Port::NONE);
        core::iter::successors(first, |port| self.aside.first_from(port.next())).count() as u32
    }

    /// Makes the check of the ports set aside continue at `port`.
    #[cfg(test)]
    pub(super) fn look_from(&mut self, port: Port) {
        (self.next_aside, self.from_first) = (port, false);
    }

    /// The ports in use of a bucket, by bit. `None` if there is no such bucket.
    pub(super) fn used_in(&self, bucket: usize) -> Option<u64> {
        let reserved = u64::from(bucket == 0);
        Some(!(self.free.word(bucket)? | self.aside.word(bucket)? | reserved))
    }

    /// The number of ports in use.
    pub(super) const fn used(&self) -> u32 {
        self.used
    }

    /// The port after the last one that exists. Those below it exist, used or not.
    pub(super) fn end(&self) -> Port {
        // At most `limit` divided by the size of a bucket.
        Port::new(low_u32(self.buckets.len() as u64) * BUCKET)
    }

    /// A port, if it exists.
    pub(super) fn channel(&self, port: Port) -> Result<&Channel, Errno> {
        let bucket = self.buckets.masked(port.word() as usize);
        bucket.and_then(|bucket| bucket.masked(port.bit() as usize)).ok_or(Errno::EINVAL)
    }

    pub(super) fn channel_mut(&mut self, port: Port) -> Result<&mut Channel, Errno> {
        let bucket = self.buckets.masked_mut(port.word() as usize);
        bucket.and_then(|bucket| bucket.masked_mut(port.bit() as usize)).ok_or(Errno::EINVAL)
    }

    /// The highest port that the current ABI and the limit allow.
    pub(super) fn highest(&self) -> Port {
        let channels = if self.fifo.is_some() { fifo_abi::NR_CHANNELS } else { two_level_abi::NR_CHANNELS };
        self.limit.min(Port::new(channels - 1))
    }

    /// Whether no existing port is free, but more may be added.
    pub(super) fn needs_bucket(&self) -> bool {
        self.end() <= self.highest() && self.free.first_from(Port::NONE).is_none()
    }

    /// Adds a bucket, unless it is no longer needed.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn add_bucket(&mut self, mut bucket: Bucket) -> Result<(), Errno> {
        if !self.needs_bucket() {
            return Ok(());
        }
        let mut first = self.end();
        self.buckets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.free.add_word()?;
        self.aside.add_word()?;
        if let (Port::NONE, [zero, ..]) = (first, &mut bucket[..]) {
            zero.state = State::Reserved;
            first = first.next();
        }
        self.buckets.push(bucket);
        first.until(self.end()).for_each(|port| self.free.set(port, true));
        Ok(())
    }

    /// Removes the last bucket. Returns `None` if there is none. No port of it may be in use.
    pub(super) fn remove_bucket(&mut self) -> Option<Bucket> {
        self.buckets.pop()
    }

    /// Checks at most `looks` of the ports set aside. Those that the guest has removed from its
    /// queue become free again. Returns `true` if all have been checked since a port was last
    /// found.
    fn take_back(&mut self, looks: u32) -> bool {
        for _ in 0..looks {
            let Some(port) = self.aside.first_from(self.next_aside) else {
                self.next_aside = Port::NONE;
                if core::mem::replace(&mut self.from_first, true) {
                    return true;
                }
                continue;
            };
            self.next_aside = port.next();
            if !self.is_linked(port) {
                self.aside.set(port, false);
                self.free.set(port, true);
            }
        }
        false
    }

    /// Whether the guest's FIFO queue may still contain the word of a port that was closed.
    fn is_linked(&self, port: Port) -> bool {
        self.fifo.as_ref().is_some_and(|fifo| fifo.is_linked(port))
    }

    fn first_free(&self) -> Option<Port> {
        self.free.first_from(Port::NONE).filter(|&port| port <= self.highest())
    }

    /// Finds a port for `occupy`.
    ///
    /// # Errors
    /// `ENOSPC` if the domain has no free port, `EINVAL` if it is being destroyed.
    pub(super) fn find_free(&mut self, domain: &Domain) -> Result<Port, NoPort> {
        if domain.is_dying() {
            return Err(Errno::EINVAL.into());
        }
        let all = self.take_back(SECOND_LOOKS);
        if self.first_free().is_none() && !self.needs_bucket() {
            let all = all || self.take_back(LAST_LOOKS);
            if self.first_free().is_none() {
                return Err(if all { Errno::ENOSPC.into() } else { NoPort::Later });
            }
        }
        for _ in 0..LOOKS {
            let port = self.first_free().ok_or(NoPort::Later)?;
            if !self.is_linked(port) {
                self.from_first = false;
                return Ok(port);
            }
            self.free.set(port, false);
            self.aside.set(port, true);
        }
        Err(NoPort::Later)
    }

    /// Starts the use of a port from `find_free`.
    ///
    /// # Errors
    /// `EEXIST` for a virtual interrupt that already has a port (EC-2).
    pub(super) fn occupy(&mut self, port: Port, state: State, vcpu: VcpuId) -> Result<(), Errno> {
        if let State::Virq(virq) = state {
            if self.virq_port(vcpu, virq).is_some() {
                return Err(Errno::EEXIST);
            }
            self.set_virq_port(vcpu, virq, port);
        }
        let channel = self.channel_mut(port)?;
        debug_assert!(matches!(channel.state, State::Free));
        channel.state = state;
        channel.vcpu = vcpu;
        channel.fifo.start();
        self.free.set(port, false);
        self.used += 1;
        Ok(())
    }

    /// Frees a port. The caller handles the peer, if there is one.
    pub(super) fn release(&mut self, domain: &Domain, port: Port) -> Result<(), Errno> {
        let channel = self.channel_mut(port)?;
        if matches!(channel.state, State::Free | State::Reserved) {
            return Err(Errno::EINVAL);
        }
        let (state, vcpu) = (core::mem::replace(&mut channel.state, State::Free), channel.vcpu);
        channel.vcpu = VcpuId::BOOT;
        channel.fifo.forget_pending();
        if let State::Virq(virq) = state {
            self.set_virq_port(if is_global(virq) { VcpuId::BOOT } else { vcpu }, virq, Port::NONE);
        }
        if let Some(fifo) = &self.fifo {
            fifo.clear_pending(port);
        }
        // It may have become pending before the domain switched to the FIFO ABI.
        two_level::clear_pending(domain, port);
        self.free.set(port, true);
        self.used -= 1;
        Ok(())
    }

    /// The peer of a port in use, if it is bound to another port.
    ///
    /// # Errors
    /// `EINVAL` if the port is not in use.
    pub(super) fn peer(&self, port: Port) -> Result<Option<&Peer>, Errno> {
        match &self.channel(port)?.state {
            State::Free | State::Reserved => Err(Errno::EINVAL),
            State::Interdomain(peer) => Ok(Some(peer)),
            _ => Ok(None),
        }
    }

    /// The port to which a virtual interrupt of a vCPU is bound.
    pub(super) fn virq_port(&self, vcpu: VcpuId, virq: u32) -> Option<Port> {
        self.virqs.masked(vcpu.index())?.masked(virq as usize)?.non_zero()
    }

    /// Records the port of a virtual interrupt of one of the domain's vCPUs.
    fn set_virq_port(&mut self, vcpu: VcpuId, virq: u32, port: Port) {
        let row = self.virqs.masked_mut(vcpu.index());
        if let Some(slot) = row.and_then(|row| row.masked_mut(virq as usize)) {
            *slot = port;
        }
    }

    /// Makes a port pending. The caller calls [`Raised::act`] after releasing the lock.
    pub(super) fn raise(&mut self, domain: &Domain, port: Port) -> Raised {
        let Some(fifo) = &mut self.fifo else {
            let Ok(channel) = self.channel(port) else { return Raised::nothing(port) };
            return two_level::set_pending(domain, port, channel.vcpu);
        };
        let bucket = self.buckets.masked_mut(port.word() as usize);
        match bucket.and_then(|bucket| bucket.masked_mut(port.bit() as usize)) {
            Some(channel) => fifo.set_pending(port, channel.vcpu, &mut channel.fifo),
            None => Raised::nothing(port),
        }
    }

    /// Unmasks a port and delivers a pending event.
    pub(super) fn unmask(&mut self, domain: &Domain, port: Port) -> Result<Raised, Errno> {
        let channel = self.channel(port)?;
        if matches!(channel.state, State::Free | State::Reserved) {
            return Ok(Raised::nothing(port));
        }
        match &self.fifo {
            None => Ok(two_level::unmask(domain, port, channel.vcpu)),
            Some(fifo) if fifo.unmask(port) => Ok(self.raise(domain, port)),
            Some(_) => Ok(Raised::nothing(port)),
        }
    }

    /// Whether a port is pending, masked or not.
    pub(super) fn is_pending(&self, domain: &Domain, port: Port) -> bool {
        port < self.end()
            && match &self.fifo {
                Some(fifo) => fifo.is_pending(port),
                None => two_level::is_pending(domain, port),
            }
    }

    /// Makes a port pending whose event word has just been added, if it became pending without a
    /// word or under the 2-level ABI.
    pub(super) fn raise_remembered(&mut self, domain: &Domain, port: Port) -> Raised {
        let Ok(Channel { state, fifo, .. }) = self.channel(port) else { return Raised::nothing(port) };
        if matches!(state, State::Free | State::Reserved)
            || !(fifo.was_pending() || two_level::is_pending(domain, port))
        {
            return Raised::nothing(port);
        }
        two_level::clear_pending(domain, port);
        self.raise(domain, port)
    }

    /// Returns to the 2-level ABI if every port is free. Returns the pages of the FIFO ABI.
    ///
    /// # Errors
    /// `EAGAIN` if a port is in use.
    pub(super) fn stop_fifo(&mut self) -> Result<Option<Fifo>, Errno> {
        if self.used != 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(self.fifo.take())
    }
}

/// Whether a virtual interrupt is global, as opposed to per-vCPU.
pub(super) const fn is_global(number: u32) -> bool {
    !matches!(number, virq::TIMER | virq::DEBUG | virq::XENOPROF | virq::XENPMU)
}
