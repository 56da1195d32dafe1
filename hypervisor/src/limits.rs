//! The fixed limits of the host and of its domains. The table in `limit_table` lists all of them. A
//! call that is refused because of one is logged here.

use core::sync::atomic::{AtomicU64, Ordering};
use machine::speculation::MaskedIndex;

use crate::domain::Domain;
use crate::guest_log::guest_log;

/// A limit that the calls of a running domain can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// Domains on the host.
    Domains,
    /// vCPUs of a domain.
    Vcpus,
    /// Frames of a domain's grant table.
    GrantFrames,
    /// Grants that a domain has mapped.
    GrantMappings,
    /// Event channels of a domain.
    EventChannels,
    /// Ports in one `SCHEDOP_poll`.
    PolledPorts,
    /// The size of an extent.
    ExtentOrder,
    /// Entries of the memory map that a guest sees.
    MemoryMapEntries,
    /// Numbers and vectors for message-signalled interrupts.
    InterruptMessages,
    /// Contents of a guest's built-in xenstore.
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

    /// The limit's name in the log and in `docs/limits.md`.
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
            Self::InterruptMessages => "message-signalled interrupts (MSI, MSI-X)",
            Self::Store => "nodes, watches and transactions of a guest's built-in xenstore",
            Self::OwnMemory => "memory for Paravane's own tables",
        }
    }
}

/// Minimum time between two log lines about the same limit of a domain, in nanoseconds. A domain at
/// its limit reaches it again and again.
const INTERVAL: u64 = 60_000_000_000;

/// When each limit was last logged for a domain.
#[derive(Debug, Default)]
pub struct ReportedLimits([AtomicU64; Limit::ALL.len()]);

impl ReportedLimits {
    /// Returns whether a line is due, and records the time if so.
    fn is_due(&self, limit: Limit, now: u64) -> bool {
        let Some(last) = self.0.masked(limit as usize) else { return false };
        // Zero means never. The time is stored only if a line is due, so a flood does not postpone
        // the next one.
        let due = |last: u64| (last == 0 || now >= last.saturating_add(INTERVAL)).then_some(now.max(1));
        last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }
}

#[cfg(test)]
impl ReportedLimits {
    /// Whether the limit has ever been logged.
    pub(crate) fn has(&self, limit: Limit) -> bool {
        self.0[limit as usize].load(Ordering::Relaxed) != 0
    }
}

/// Logs that a call of `domain` was refused because of `limit`. The caller must not hold a lock.
#[cold]
pub(crate) fn met(domain: &Domain, limit: Limit) {
    if domain.reported_limits.is_due(limit, machine::time::now()) {
        guest_log!(domain, Warn, "refused at a limit: {} (see docs/limits.md)", limit.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_limit_is_logged_once_a_minute() {
        let reported = ReportedLimits::default();
        assert!(reported.is_due(Limit::Vcpus, 0));
        assert!(!reported.is_due(Limit::Vcpus, 1));
        assert!(reported.is_due(Limit::GrantMappings, 1), "each limit separately");
        assert!(!reported.is_due(Limit::Vcpus, INTERVAL));
        assert!(reported.is_due(Limit::Vcpus, INTERVAL + 1));
    }

    #[test]
    fn each_limit_has_its_own_place_and_name() {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index);
            assert_eq!(Limit::ALL.iter().filter(|other| other.name() == limit.name()).count(), 1);
        }
    }
}
