//! The fixed limits of the host and of its domains: one table of them all, from which
//! `docs/limits.md` is generated, and one mechanism that says in the log which of them a refused
//! call has met.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::domain::Domain;
use crate::guest_log::guest_log;

/// A limit that calls of a running domain can meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Domains of the host.
    Domains,
    /// vCPUs of a domain.
    Vcpus,
    /// Frames of a domain's grant table.
    GrantFrames,
    /// Grants that a domain has mapped.
    GrantMappings,
    /// Event channels of a domain.
    EventChannels,
    /// Ports in one call of `SCHEDOP_poll`.
    PolledPorts,
    /// The size of an extent.
    ExtentOrder,
    /// Entries of the memory map that a guest is shown.
    MemoryMapEntries,
    /// Numbers and vectors for interrupts by message.
    InterruptMessages,
    /// What a guest keeps in the small store.
    Store,
    /// Memory for Paravane's own tables.
    OwnMemory,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Domains,
        Self::Vcpus,
        Self::GrantFrames,
        Self::GrantMappings,
        Self::EventChannels,
        Self::PolledPorts,
        Self::ExtentOrder,
        Self::MemoryMapEntries,
        Self::InterruptMessages,
        Self::Store,
        Self::OwnMemory,
    ];

    /// The limit's name in the log and in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Domains => "domains",
            Self::Vcpus => "vCPUs of a domain",
            Self::GrantFrames => "frames of a domain's grant table",
            Self::GrantMappings => "grants that a domain has mapped",
            Self::EventChannels => "event channels of a domain",
            Self::PolledPorts => "ports in one SCHEDOP_poll",
            Self::ExtentOrder => "order of a memory extent",
            Self::MemoryMapEntries => "entries of a guest's memory map",
            Self::InterruptMessages => "interrupts by message (MSI, MSI-X)",
            Self::Store => "nodes, watches and transactions of a guest's own store",
            Self::OwnMemory => "memory for Paravane's own tables",
        }
    }
}

/// A domain meets the same limit again and again while it stays there: it is said once in so many
/// nanoseconds.
const INTERVAL: u64 = 60_000_000_000;

/// When it was last said of a domain that it had met each limit.
#[derive(Debug, Default)]
pub struct Said([AtomicU64; Limit::ALL.len()]);

impl Said {
    /// Whether it is time to say it.
    fn is_due(&self, limit: Limit, now: u64) -> bool {
        let Some(last) = self.0.get(limit as usize) else { return false };
        // Zero for never. The moment is kept only if it is said: a flood does not put the next line
        // off.
        let due = |last: u64| (last == 0 || now >= last.saturating_add(INTERVAL)).then_some(now.max(1));
        last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }
}

#[cfg(test)]
impl Said {
    /// Whether it has ever been said.
    pub(crate) fn has(&self, limit: Limit) -> bool {
        self.0[limit as usize].load(Ordering::Relaxed) != 0
    }
}

/// Says in the log that a call of `domain` has been refused because of `limit`. No lock may be
/// held.
#[cold]
pub(crate) fn met(domain: &Domain, limit: Limit) {
    if domain.limits_said.is_due(limit, machine::time::now()) {
        guest_log!(domain, Warn, "refused at a limit: {} (see docs/limits.md)", limit.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_met_again_and_again_is_said_once_a_minute() {
        let said = Said::default();
        assert!(said.is_due(Limit::Vcpus, 0));
        assert!(!said.is_due(Limit::Vcpus, 1));
        assert!(said.is_due(Limit::GrantMappings, 1), "each limit by itself");
        assert!(!said.is_due(Limit::Vcpus, INTERVAL));
        assert!(said.is_due(Limit::Vcpus, INTERVAL + 1));
    }

    #[test]
    fn each_limit_has_its_own_place_and_name() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
            assert_eq!(Limit::ALL.iter().filter(|other| other.name() == limit.name()).count(), 1);
        }
    }
}
