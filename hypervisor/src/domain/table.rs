//! All domains of the host, by number. A number is taken from before its domain is built until the domain's last frame has
//! returned: whoever holds a frame of the one may not find it to be the other's.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::frames;
use machine::sync::{Level, SpinLock};

use super::control::Handle;
use super::{Domain, EndReason};

static DOMAINS: SpinLock<Table> = SpinLock::new(Level::Domains, Table { entries: BTreeMap::new(), last: DomainId(0) });

struct Table {
    entries: BTreeMap<DomainId, Entry>,
    /// The number that was given out last.
    last: DomainId,
}

enum Entry {
    /// It is being made.
    Reserved,
    Domain(Arc<Domain>),
    Remains(Remains),
}

/// What is left of a domain that has been taken apart while others still hold frames of it.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Why it ended.
    pub reason: EndReason,
    /// Its handle.
    pub handle: Handle,
    /// How many vCPUs it had.
    pub vcpus: u32,
}

/// A domain, or what is left of it.
pub enum Known {
    /// A domain.
    Domain(Arc<Domain>),
    /// Nothing but frames that others hold.
    Remains(DomainId, Remains),
}

/// A number that a domain will get; it is free again if this is dropped before.
pub struct Reservation {
    id: DomainId,
}

impl Reservation {
    /// The number.
    pub const fn id(&self) -> DomainId {
        self.id
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = DOMAINS.lock();
        if matches!(table.entries.get(&self.id), Some(Entry::Reserved)) {
            table.entries.remove(&self.id);
        }
    }
}

/// Takes a number for a domain that is to be made.
///
/// # Errors
/// `EEXIST` if it is in use.
pub fn reserve(id: DomainId) -> Result<Reservation, Errno> {
    let mut table = DOMAINS.lock();
    if table.entries.contains_key(&id) || frames::owned_by(id) != 0 {
        return Err(Errno::EEXIST);
    }
    table.entries.insert(id, Entry::Reserved);
    Ok(Reservation { id })
}

/// Takes the next number that is free: as long as there are others, one is not used again.
///
/// # Errors
/// `ENOMEM` if there is none.
pub fn reserve_next() -> Result<Reservation, Errno> {
    let mut table = DOMAINS.lock();
    let after = (table.last.0 + 1..DomainId::FIRST_RESERVED.0).chain(1..=table.last.0).map(DomainId);
    let mut free = after.filter(|id| !table.entries.contains_key(id) && frames::owned_by(*id) == 0);
    let id = free.next().ok_or(Errno::ENOMEM)?;
    table.last = id;
    table.entries.insert(id, Entry::Reserved);
    Ok(Reservation { id })
}

/// Makes a domain known under its number, which nobody has, or which has been reserved for it.
pub fn add(domain: &Arc<Domain>) {
    let before = DOMAINS.lock().entries.insert(domain.id(), Entry::Domain(Arc::clone(domain)));
    assert!(matches!(before, None | Some(Entry::Reserved)), "two domains with the number {}", domain.id().0);
}

/// The domain of that number.
pub fn by_id(id: DomainId) -> Option<Arc<Domain>> {
    match DOMAINS.lock().entries.get(&id) {
        Some(Entry::Domain(domain)) => Some(Arc::clone(domain)),
        _ => None,
    }
}

/// The domain that controls the others, if there is one.
pub fn control_domain() -> Option<Arc<Domain>> {
    by_id(DomainId(0)).filter(|domain| domain.is_privileged())
}

/// The domain with the lowest number from `first` on, or what is left of it.
pub fn first_from(first: DomainId) -> Option<Known> {
    let table = DOMAINS.lock();
    table.entries.range(first..).find_map(|(id, entry)| match entry {
        Entry::Reserved => None,
        Entry::Domain(domain) => Some(Known::Domain(Arc::clone(domain))),
        Entry::Remains(remains) => Some(Known::Remains(*id, remains.clone())),
    })
}

/// Whether the number is that of a domain of which there is nothing but frames that others hold.
pub fn is_gone_but_for_frames(id: DomainId) -> bool {
    matches!(DOMAINS.lock().entries.get(&id), Some(Entry::Remains(_)))
}

/// Calls `act` for each domain, in order of their numbers, without holding a lock.
pub fn for_each(mut act: impl FnMut(&Arc<Domain>)) {
    let table = DOMAINS.lock();
    let domains = table.entries.values().filter_map(|entry| match entry {
        Entry::Domain(domain) => Some(Arc::clone(domain)),
        _ => None,
    });
    let all: Vec<_> = domains.collect();
    drop(table);
    all.iter().for_each(&mut act);
}

/// Forgets a domain that has been taken apart, but not its number.
pub(super) fn bury(id: DomainId, remains: Remains) {
    let removed = DOMAINS.lock().entries.insert(id, Entry::Remains(remains));
    drop(removed);
}

/// Frees a number whose domain's last frame has returned; tells which.
pub(super) fn free_one() -> Option<DomainId> {
    let mut table = DOMAINS.lock();
    let is_free = |(id, entry): (&DomainId, &Entry)| {
        (matches!(entry, Entry::Remains(_)) && frames::owned_by(*id) == 0).then_some(*id)
    };
    let id = table.entries.iter().find_map(is_free)?;
    let removed = table.entries.remove(&id);
    drop(table);
    drop(removed);
    Some(id)
}

/// Whether there is no domain.
pub fn is_empty() -> bool {
    DOMAINS.lock().entries.is_empty()
}
