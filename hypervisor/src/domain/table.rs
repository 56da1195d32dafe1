//! All domains of the host.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use abi::xen::DomainId;
use machine::sync::{Level, SpinLock};

use super::Domain;

static DOMAINS: SpinLock<BTreeMap<DomainId, Arc<Domain>>> = SpinLock::new(Level::Domains, BTreeMap::new());

/// Makes a domain known under its number.
pub fn add(domain: &Arc<Domain>) {
    let before = DOMAINS.lock().insert(domain.id(), Arc::clone(domain));
    assert!(before.is_none(), "two domains with the number {}", domain.id().0);
}

/// The domain of that number.
pub fn by_id(id: DomainId) -> Option<Arc<Domain>> {
    DOMAINS.lock().get(&id).map(Arc::clone)
}

/// Calls `act` for each domain, in order of their numbers, without holding a lock.
pub fn for_each(mut act: impl FnMut(&Arc<Domain>)) {
    let all: Vec<_> = DOMAINS.lock().values().map(Arc::clone).collect();
    all.iter().for_each(&mut act);
}

/// Forgets a domain.
pub(super) fn remove(id: DomainId) {
    let removed = DOMAINS.lock().remove(&id);
    drop(removed);
}

/// Whether there is no domain.
pub fn is_empty() -> bool {
    DOMAINS.lock().is_empty()
}
