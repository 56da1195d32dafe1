//! Settings that the control domain makes for another domain: handle, pauses, memory map and
//! others.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use abi::errno::Errno;
use abi::memory::E820Entry;
use abi::xen::DOMAIN_HANDLE_LENGTH;
use machine::sync::{Level, SpinLock, SpinLockGuard};

use super::{LogDirtyOperation, Port};

/// A domain's handle, a UUID that only the tools use.
pub(crate) type Handle = [u8; DOMAIN_HANDLE_LENGTH];

/// The highest number of pauses that the control domain can nest.
pub(crate) const MAX_PAUSES: u32 = 255;

/// Settings that the control domain has made for a domain.
pub struct Control {
    /// The share of the domain's pause count that belongs to the control domain.
    pauses: AtomicU32,
    /// Whether the domain runs xenstore for others (`XEN_DOMCTL_CDF_xs_domain`).
    serves_store: AtomicBool,
    /// Offset of its wall clock from the host's, in seconds.
    pub time_offset: AtomicI64,
    /// The domain's port whose peer is notified when the domain suspends; `Port::NONE` for none.
    suspend_port: AtomicU32,
    /// Mode of its time-stamp counter, as set by the tools.
    pub tsc_mode: AtomicU32,
    /// Number of its migrations, as reported by the tools.
    pub incarnation: AtomicU32,
    /// The pool for mirror tables that the tools have set, in MiB; zero for the default.
    log_dirty_pool: AtomicU32,
    /// The operation on its log of dirty pages.
    pub(crate) log_dirty: LogDirtyOperation,
    record: SpinLock<Record>,
}

/// Settings that need a lock.
#[derive(Default)]
pub struct Record {
    /// Its handle.
    pub handle: Handle,
    /// The memory map that it sees, unless it is the default.
    pub memory_map: Option<Arc<[E820Entry]>>,
}

impl Control {
    /// Creates the default settings.
    pub(super) const fn new() -> Self {
        Self {
            pauses: AtomicU32::new(0),
            serves_store: AtomicBool::new(false),
            time_offset: AtomicI64::new(0),
            suspend_port: AtomicU32::new(Port::NONE.get()),
            tsc_mode: AtomicU32::new(0),
            incarnation: AtomicU32::new(0),
            log_dirty_pool: AtomicU32::new(0),
            log_dirty: LogDirtyOperation::new(),
            record: SpinLock::new(Level::DomainRecord, Record { handle: [0; DOMAIN_HANDLE_LENGTH], memory_map: None }),
        }
    }

    /// The domain's port whose peer is notified when the domain suspends.
    pub fn suspend_port(&self) -> Option<Port> {
        Port::new(self.suspend_port.load(Ordering::SeqCst)).non_zero()
    }

    /// Sets that port.
    pub fn set_suspend_port(&self, port: Option<Port>) {
        self.suspend_port.store(port.unwrap_or(Port::NONE).get(), Ordering::SeqCst);
    }

    /// The pool for mirror tables in MiB; zero for the default.
    pub fn log_dirty_pool(&self) -> u32 {
        self.log_dirty_pool.load(Ordering::Relaxed)
    }

    /// Sets the pool for mirror tables of the next log, in MiB; zero for the default.
    pub fn set_log_dirty_pool(&self, megabytes: u32) {
        self.log_dirty_pool.store(megabytes, Ordering::Relaxed);
    }

    /// Locks the handle and the memory map.
    pub fn record(&self) -> SpinLockGuard<'_, Record> {
        self.record.lock()
    }

    /// Whether the domain runs xenstore for others.
    pub fn serves_store(&self) -> bool {
        self.serves_store.load(Ordering::Relaxed)
    }

    /// Marks the domain as the one that runs xenstore for others.
    pub fn set_serves_store(&self) {
        self.serves_store.store(true, Ordering::Relaxed);
    }

    /// Attributes the initial pause of a new domain to the control domain.
    pub fn own_first_pause(&self) {
        self.pauses.store(1, Ordering::SeqCst);
    }

    /// Whether the control domain has paused the domain.
    pub fn is_paused(&self) -> bool {
        self.pauses.load(Ordering::SeqCst) != 0
    }

    /// Counts a pause by the control domain.
    ///
    /// # Errors
    /// `EOVERFLOW` if there are [`MAX_PAUSES`] already.
    pub fn add_pause(&self) -> Result<(), Errno> {
        let more = |pauses: u32| (pauses < MAX_PAUSES).then_some(pauses + 1);
        let counted = self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        counted.map(|_| ()).map_err(|_| Errno::EOVERFLOW)
    }

    /// Removes a pause by the control domain.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn remove_pause(&self) -> Result<(), Errno> {
        let less = |pauses: u32| pauses.checked_sub(1);
        let counted = self.pauses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        counted.map(|_| ()).map_err(|_| Errno::EINVAL)
    }
}
