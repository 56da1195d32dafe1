//! The ports of one domain: which are in use, for what, and which vCPU each of them notifies.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::event_channel::{fifo as fifo_abi, two_level as two_level_abi};
use abi::xen::{DomainId, virq};
use machine::heap;

use super::fifo::{Fifo, FifoPort};
use super::two_level;
use crate::domain::Domain;

/// Ports in a bucket; a domain gets buckets as it needs them.
const BUCKET: u32 = 64;
/// The highest port that a domain may have, unless its creator says otherwise.
pub(super) const DEFAULT_LIMIT: u32 = 1023;
/// Virtual interrupts.
pub(super) const VIRQS: usize = virq::COUNT as usize;

/// A port's number in its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port(u32);

impl Port {
    /// A port by number, whether it exists or not.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What in Paravane itself is the other end of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consumer {
    /// The domain's console.
    Console,
    /// The small store.
    Store,
}

/// One end of a channel between domains.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) domain: Weak<Domain>,
    pub(super) id: DomainId,
    pub(super) port: u32,
}

impl Peer {
    pub(super) fn new(domain: &Arc<Domain>, port: u32) -> Self {
        Self { domain: Arc::downgrade(domain), id: domain.id(), port }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.domain.ptr_eq(&other.domain) && self.port == other.port
    }
}

/// What a port is used for.
#[derive(Debug)]
pub(super) enum State {
    Free,
    /// Port zero: never given out.
    Reserved,
    /// Open to a binding by this domain.
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
    /// The vCPU that is notified.
    pub(super) vcpu: u32,
    pub(super) fifo: FifoPort,
}

impl Channel {
    const fn free() -> Self {
        Self { state: State::Free, vcpu: 0, fifo: FifoPort::new() }
    }
}

/// What is left to do, without a lock, after a port was made pending.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Raised {
    pub(super) port: u32,
    /// The vCPU that has to be told.
    pub(super) notify: Option<u32>,
    /// The port was not pending before, so a vCPU may be polling for it.
    pub(super) newly: bool,
}

impl Raised {
    pub(super) const fn nothing(port: u32) -> Self {
        Self { port, notify: None, newly: false }
    }

    /// Tells the vCPU and whoever polls.
    pub(super) fn act(self, domain: &Arc<Domain>) {
        if let Some(vcpu) = self.notify.and_then(|number| domain.vcpu(number)) {
            vcpu.notify();
        }
        if self.newly {
            crate::scheduler::wake_pollers(domain, self.port);
        }
    }
}

/// All ports of a domain.
pub(super) struct Table {
    buckets: Vec<Vec<Channel>>,
    /// The highest port that may be used.
    limit: u32,
    /// No port below this one, save zero, is free.
    first_free: u32,
    /// For each vCPU the ports of its virtual interrupts, zero for none; global ones stand with vCPU 0.
    virqs: Vec<[u32; VIRQS]>,
    /// The FIFO ABI's state, once the guest has chosen it.
    pub(super) fifo: Option<Fifo>,
    /// Where a reset under way goes on; zero if there is none.
    pub(super) reset_from: u32,
}

impl Table {
    pub(super) const fn new() -> Self {
        Self { buckets: Vec::new(), limit: DEFAULT_LIMIT, first_free: 1, virqs: Vec::new(), fifo: None, reset_from: 0 }
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit.min(fifo_abi::NR_CHANNELS - 1);
    }

    /// The number of ports that exist, used or not; those from there on are not valid.
    pub(super) fn valid(&self) -> u32 {
        // At most `limit` divided by the bucket's size.
        self.buckets.len() as u32 * BUCKET
    }

    /// A port that exists.
    pub(super) fn channel(&self, port: u32) -> Result<&Channel, Errno> {
        let bucket = usize::try_from(port / BUCKET).ok().and_then(|index| self.buckets.get(index));
        bucket.and_then(|bucket| bucket.get((port % BUCKET) as usize)).ok_or(Errno::EINVAL)
    }

    pub(super) fn channel_mut(&mut self, port: u32) -> Result<&mut Channel, Errno> {
        let bucket = usize::try_from(port / BUCKET).ok().and_then(|index| self.buckets.get_mut(index));
        bucket.and_then(|bucket| bucket.get_mut((port % BUCKET) as usize)).ok_or(Errno::EINVAL)
    }

    /// The highest port that the ABI in use and the limit allow.
    fn highest(&self) -> u32 {
        let channels = if self.fifo.is_some() { fifo_abi::NR_CHANNELS } else { two_level_abi::NR_CHANNELS };
        self.limit.min(channels - 1)
    }

    fn add_bucket(&mut self) -> Result<(), Errno> {
        if heap::is_short() {
            return Err(Errno::ENOMEM);
        }
        let mut bucket = Vec::new();
        self.buckets.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        bucket.try_reserve_exact(BUCKET as usize).map_err(|_| Errno::ENOMEM)?;
        bucket.extend((0..BUCKET).map(|_| Channel::free()));
        if self.buckets.is_empty()
            && let Some(zero) = bucket.first_mut()
        {
            zero.state = State::Reserved;
        }
        self.buckets.push(bucket);
        Ok(())
    }

    /// A port that can be occupied.
    ///
    /// # Errors
    /// `ENOSPC` if the domain has used up its ports, `EINVAL` if it is being taken apart, `ENOMEM`.
    pub(super) fn find_free(&mut self, domain: &Domain) -> Result<u32, Errno> {
        if domain.is_dying() {
            return Err(Errno::EINVAL);
        }
        for port in self.first_free..=self.highest() {
            if port >= self.valid() {
                self.add_bucket()?;
            }
            let free = matches!(self.channel(port)?.state, State::Free);
            // The guest's FIFO queue may still lead through the word of a port that was closed.
            if free && !self.fifo.as_ref().is_some_and(|fifo| fifo.is_linked(port)) {
                return Ok(port);
            }
        }
        Err(Errno::ENOSPC)
    }

    /// Puts a port that `find_free` has found to use.
    pub(super) fn occupy(&mut self, port: u32, state: State, vcpu: u32) -> Result<(), Errno> {
        let channel = self.channel_mut(port)?;
        debug_assert!(matches!(channel.state, State::Free));
        channel.state = state;
        channel.vcpu = vcpu;
        channel.fifo.start();
        if port == self.first_free {
            self.first_free += 1;
        }
        Ok(())
    }

    /// Makes a port free again. Its other end, if it has one, is the caller's concern.
    pub(super) fn release(&mut self, domain: &Domain, port: u32) -> Result<(), Errno> {
        let channel = self.channel_mut(port)?;
        if matches!(channel.state, State::Free | State::Reserved) {
            return Err(Errno::EINVAL);
        }
        let (state, vcpu) = (core::mem::replace(&mut channel.state, State::Free), channel.vcpu);
        channel.vcpu = 0;
        channel.fifo.forget_pending();
        if let State::Virq(virq) = state {
            self.set_virq_port(if is_global(virq) { 0 } else { vcpu }, virq, 0);
        }
        match &self.fifo {
            Some(fifo) => fifo.clear_pending(port),
            None => two_level::clear_pending(domain, port),
        }
        self.first_free = self.first_free.min(port);
        Ok(())
    }

    /// The other end of a port in use, if that is another port.
    ///
    /// # Errors
    /// `EINVAL` if the port is not in use.
    pub(super) fn peer(&self, port: u32) -> Result<Option<&Peer>, Errno> {
        match &self.channel(port)?.state {
            State::Free | State::Reserved => Err(Errno::EINVAL),
            State::Interdomain(peer) => Ok(Some(peer)),
            _ => Ok(None),
        }
    }

    /// The port that a virtual interrupt of a vCPU is bound to, or zero.
    pub(super) fn virq_port(&self, vcpu: u32, virq: u32) -> u32 {
        let row = usize::try_from(vcpu).ok().and_then(|vcpu| self.virqs.get(vcpu));
        row.and_then(|row| row.get(virq as usize)).copied().unwrap_or(0)
    }

    /// Records the port of a virtual interrupt; `vcpu` is one of the domain's.
    pub(super) fn set_virq_port(&mut self, vcpu: u32, virq: u32, port: u32) {
        let Ok(index) = usize::try_from(vcpu) else { return };
        if self.virqs.len() <= index {
            self.virqs.resize(index + 1, [0; VIRQS]);
        }
        if let Some(slot) = self.virqs.get_mut(index).and_then(|row| row.get_mut(virq as usize)) {
            *slot = port;
        }
    }

    /// Makes a port pending. The caller calls [`Raised::act`] when it has let the lock go.
    pub(super) fn raise(&mut self, domain: &Domain, port: u32) -> Raised {
        let Some(fifo) = &mut self.fifo else {
            let Ok(channel) = self.channel(port) else { return Raised::nothing(port) };
            return two_level::set_pending(domain, port, channel.vcpu);
        };
        let bucket = self.buckets.get_mut((port / BUCKET) as usize);
        match bucket.and_then(|bucket| bucket.get_mut((port % BUCKET) as usize)) {
            Some(channel) => fifo.set_pending(port, channel.vcpu, &mut channel.fifo),
            None => Raised::nothing(port),
        }
    }

    /// Takes the mask of a port away and delivers what is pending.
    pub(super) fn unmask(&mut self, domain: &Domain, port: u32) -> Result<Raised, Errno> {
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
    pub(super) fn is_pending(&self, domain: &Domain, port: u32) -> bool {
        port < self.valid()
            && match &self.fifo {
                Some(fifo) => fifo.is_pending(port),
                None => two_level::is_pending(domain, port),
            }
    }

    /// Goes over to the FIFO ABI: what was pending is remembered until the guest has given the event words.
    pub(super) fn start_fifo(&mut self, domain: &Domain, fifo: Fifo) {
        for (number, channel) in (0..).zip(self.buckets.iter_mut().flat_map(|bucket| bucket.iter_mut())) {
            channel.fifo.start();
            if two_level::is_pending(domain, number) {
                channel.fifo.remember_pending();
            }
        }
        self.fifo = Some(fifo);
    }

    /// Goes back to the 2-level ABI when every port is free; hands the FIFO ABI's pages back.
    ///
    /// # Errors
    /// `EAGAIN` if a port is in use.
    pub(super) fn stop_fifo(&mut self) -> Result<Option<Fifo>, Errno> {
        let in_use = |channel: &Channel| !matches!(channel.state, State::Free | State::Reserved);
        if self.buckets.iter().any(|bucket| bucket.iter().any(in_use)) {
            return Err(Errno::EAGAIN);
        }
        if self.fifo.is_some() {
            self.buckets.clear();
            self.first_free = 1;
        }
        Ok(self.fifo.take())
    }
}

/// Whether a virtual interrupt belongs to the domain as a whole (as against one of its vCPUs).
pub(super) const fn is_global(number: u32) -> bool {
    !matches!(number, virq::TIMER | virq::DEBUG | virq::XENOPROF | virq::XENPMU)
}
