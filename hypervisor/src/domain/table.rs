//! The table of all domains, by id. An id is taken from before its domain is built until the
//! domain's last frame has been released, so that such a frame is never taken for one of a new
//! domain with the same id.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use abi::errno::Errno;
use abi::xen::DomainId;
use machine::frames;
use machine::sync::{Level, SpinLock};

use super::control::Handle;
use super::{Domain, EndReason};

static DOMAINS: SpinLock<Table> = SpinLock::new(Level::Domains, Table { entries: BTreeMap::new(), last: DomainId(0) });

struct Table {
    entries: BTreeMap<DomainId, Entry>,
    /// The last id that was assigned.
    last: DomainId,
}

enum Entry {
    /// The domain is being built.
    Reserved,
    Domain(Arc<Domain>),
    Zombie(Zombie),
}

/// The record of a domain that has been destroyed except for frames that other domains hold.
#[derive(Clone, Debug)]
pub(crate) struct Zombie {
    /// Why it ended.
    pub reason: EndReason,
    /// Its handle.
    pub handle: Handle,
    /// How many vCPUs it had.
    pub vcpus: u32,
}

/// A domain or a zombie.
pub(crate) enum Known {
    /// A domain.
    Domain(Arc<Domain>),
    /// A zombie and its id.
    Zombie(DomainId, Zombie),
}

/// A reserved domain id. Dropping it frees the id unless a domain has been added.
pub(crate) struct Reservation {
    id: DomainId,
}

impl Reservation {
    /// The reserved id.
    pub(crate) const fn id(&self) -> DomainId {
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

/// Reserves an id for a new domain.
///
/// # Errors
/// `EEXIST` if it is in use.
pub(crate) fn reserve(id: DomainId) -> Result<Reservation, Errno> {
    let mut table = DOMAINS.lock();
    if table.entries.contains_key(&id) || frames::owned_by(id) != 0 {
        return Err(Errno::EEXIST);
    }
    table.entries.insert(id, Entry::Reserved);
    Ok(Reservation { id })
}

/// Reserves the next free id. Ids are reused only after all others have been used. The lock is
/// taken for each id separately.
///
/// # Errors
/// `ENOMEM` if there is none.
pub(crate) fn reserve_next() -> Result<Reservation, Errno> {
    let last = DOMAINS.lock().last;
    for id in (last.0 + 1..DomainId::FIRST_RESERVED.0).chain(1..=last.0).map(DomainId) {
        let mut table = DOMAINS.lock();
        if !table.entries.contains_key(&id) && frames::owned_by(id) == 0 {
            table.last = id;
            table.entries.insert(id, Entry::Reserved);
            return Ok(Reservation { id });
        }
    }
    Err(Errno::ENOMEM)
}

/// Adds a domain under its id, which is free or has been reserved for it.
pub(crate) fn add(domain: &Arc<Domain>) {
    let before = DOMAINS.lock().entries.insert(domain.id(), Entry::Domain(Arc::clone(domain)));
    assert!(matches!(before, None | Some(Entry::Reserved)), "two domains with the id {}", domain.id().0);
}

/// The domain with this id.
pub(crate) fn by_id(id: DomainId) -> Option<Arc<Domain>> {
    match DOMAINS.lock().entries.get(&id) {
        Some(Entry::Domain(domain)) => Some(Arc::clone(domain)),
        _ => None,
    }
}

/// The control domain, if there is one.
pub(crate) fn control_domain() -> Option<Arc<Domain>> {
    by_id(DomainId(0)).filter(|domain| domain.is_privileged())
}

/// The domain or zombie with the lowest id that is at least `first`.
pub(crate) fn first_from(first: DomainId) -> Option<Known> {
    let table = DOMAINS.lock();
    table.entries.range(first..).find_map(|(id, entry)| match entry {
        Entry::Reserved => None,
        Entry::Domain(domain) => Some(Known::Domain(Arc::clone(domain))),
        Entry::Zombie(zombie) => Some(Known::Zombie(*id, zombie.clone())),
    })
}

/// Whether the id belongs to a zombie.
pub(crate) fn is_zombie(id: DomainId) -> bool {
    matches!(DOMAINS.lock().entries.get(&id), Some(Entry::Zombie(_)))
}

/// Applies `look` to each entry, in order of ids. The lock is taken for each entry separately, so
/// that other lookups do not have to wait.
fn each<T>(look: impl Fn(&Entry) -> T) -> impl Iterator<Item = (DomainId, T)> {
    let mut next = Some(DomainId(0));
    core::iter::from_fn(move || {
        let table = DOMAINS.lock();
        let (id, entry) = table.entries.range(next?..).next()?;
        next = id.0.checked_add(1).map(DomainId);
        Some((*id, look(entry)))
    })
}

/// Calls `act` for each domain, in order of ids, without holding a lock.
pub(crate) fn for_each(mut act: impl FnMut(&Arc<Domain>)) {
    let domains = each(|entry| if let Entry::Domain(domain) = entry { Some(Arc::clone(domain)) } else { None });
    domains.filter_map(|(_, domain)| domain).for_each(|domain| act(&domain));
}

/// Replaces a domain without resources by a zombie. Its id stays taken.
pub(crate) fn replace_by_zombie(id: DomainId, zombie: Zombie) {
    let removed = DOMAINS.lock().entries.insert(id, Entry::Zombie(zombie));
    drop(removed);
}

/// The ids of all zombies.
pub(crate) fn zombies() -> impl Iterator<Item = DomainId> {
    each(|entry| matches!(entry, Entry::Zombie(_))).filter_map(|(id, is_gone)| is_gone.then_some(id))
}

/// Frees the ids of zombies whose last frame has been released, and calls `report` for each.
pub(crate) fn reap_zombies(mut report: impl FnMut(DomainId)) {
    for id in zombies() {
        let mut table = DOMAINS.lock();
        if frames::owned_by(id) == 0 && matches!(table.entries.get(&id), Some(Entry::Zombie(_))) {
            let removed = table.entries.remove(&id);
            drop(table);
            drop(removed);
            report(id);
        }
    }
}

/// Frees an id regardless of what is left of its domain.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn forget(id: DomainId) {
    let removed = DOMAINS.lock().entries.remove(&id);
    drop(removed);
}

/// Whether there is neither a domain nor a zombie.
pub(crate) fn is_empty() -> bool {
    DOMAINS.lock().entries.is_empty()
}
