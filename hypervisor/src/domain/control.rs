//! What the control domain has set for another: its handle, its pauses, the memory map that it is shown, and the like.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use abi::errno::Errno;
use abi::memory::E820Entry;
use abi::xen::DOMAIN_HANDLE_LENGTH;
use machine::sync::{Level, SpinLock, SpinLockGuard};

/// A domain's handle: a UUID, which only the tools look at.
pub(crate) type Handle = [u8; DOMAIN_HANDLE_LENGTH];

/// The most pauses that the control domain may pile up.
pub(crate) const MAX_PAUSES: u32 = 255;

/// What the control domain has set for a domain.
pub struct Control {
    /// The pauses among the domain's that are the control domain's.
    pauses: AtomicU32,
    /// Whether it serves the store to others.
    serves_store: AtomicBool,
    /// Seconds that its wall clock is ahead of the host's.
    pub time_offset: AtomicI64,
    /// The port of its own that tells its peer that it has suspended itself; zero for none.
    pub suspend_port: AtomicU32,
    /// How its time-stamp counter is to behave, and how often it has been moved.
    pub tsc_mode: AtomicU32,
    /// How often it has been moved to another host.
    pub incarnation: AtomicU32,
    record: SpinLock<Record>,
}

/// What does not fit an atomic variable.
#[derive(Default)]
pub struct Record {
    /// Its handle.
    pub handle: Handle,
    /// The memory map that it is shown, unless it is the usual one.
    pub memory_map: Option<Arc<[E820Entry]>>,
}

impl Control {
    /// Nothing set.
    pub(super) const fn new() -> Self {
        Self {
            pauses: AtomicU32::new(0),
            serves_store: AtomicBool::new(false),
            time_offset: AtomicI64::new(0),
            suspend_port: AtomicU32::new(0),
            tsc_mode: AtomicU32::new(0),
            incarnation: AtomicU32::new(0),
            record: SpinLock::new(Level::DomainRecord, Record { handle: [0; DOMAIN_HANDLE_LENGTH], memory_map: None }),
        }
    }

    /// Handle and memory map, locked.
    pub fn record(&self) -> SpinLockGuard<'_, Record> {
        self.record.lock()
    }

    /// Whether it serves the store to others.
    pub fn serves_store(&self) -> bool {
        self.serves_store.load(Ordering::Relaxed)
    }

    /// Notes that it serves the store to others.
    pub fn set_serves_store(&self) {
        self.serves_store.store(true, Ordering::Relaxed);
    }

    /// The pause with which a new domain begins is the control domain's.
    pub fn own_first_pause(&self) {
        self.pauses.store(1, Ordering::SeqCst);
    }

    /// Whether the control domain keeps it from running.
    pub fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) != 0
    }

    /// Counts a pause of the control domain's.
    ///
    /// # Errors
    /// `EOVERFLOW` if there are too many.
    pub fn add_pause(&self) -> Result<(), Errno> {
        let more = |pauses: u32| (pauses < MAX_PAUSES).then_some(pauses + 1);
        let counted = self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        counted.map(|_| ()).map_err(|_| Errno::EOVERFLOW)
    }

    /// Takes a pause of the control domain's back.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn remove_pause(&self) -> Result<(), Errno> {
        let less = |pauses: u32| pauses.checked_sub(1);
        let counted = self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        counted.map(|_| ()).map_err(|_| Errno::EINVAL)
    }
}
