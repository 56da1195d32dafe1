//! When did each CPU last drop every translation it had cached?
//!
//! A frame that changes its use (writable to page table, one owner to the next) must not be reachable through a stale
//! translation. Instead of flushing at each unmapping, a frame remembers the clock when its last use ended, and whoever
//! gives it a new use flushes just those CPUs that have not flushed since.
//!
//! TC-1: if `last_flush[cpu] > stamp`, then `cpu` has flushed completely after the moment the stamp was read.
//! It holds because a CPU notes the clock it read *before* its flush, and the clock moves on only in `ensure_flushed_since`.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::addr::{CpuId, CpuSet, MAX_CPUS};
use crate::sync::{Level, SpinLock};

static CLOCK: AtomicU32 = AtomicU32::new(1);
static LAST_FLUSH: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static EPOCH: SpinLock<()> = SpinLock::new(Level::TlbClock, ());

/// The clock now: a stamp for a use that has just ended.
pub(crate) fn now() -> u32 {
    CLOCK.load(Ordering::SeqCst)
}

/// Runs `flush`, which drops every translation that this CPU has cached, and notes that it did.
pub(crate) fn around_flush(flush: impl FnOnce()) {
    let before = now();
    flush();
    LAST_FLUSH[crate::cpu::current().index()].store(before, Ordering::SeqCst);
}

/// Returns when no CPU holds a translation older than `stamp`.
pub(crate) fn ensure_flushed_since(stamp: u32) {
    let stale = stale_cpus(stamp);
    if stale.is_empty() {
        return;
    }
    // The clock must have moved past the stamp before the flush, so that the flush counts (TC-1).
    if CLOCK.compare_exchange(stamp, stamp + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() && stamp + 1 == u32::MAX {
        return start_epoch();
    }
    crate::tlb::flush_cpus(stale);
}

fn stale_cpus(stamp: u32) -> CpuSet {
    let mut stale = CpuSet::EMPTY;
    for (index, last) in LAST_FLUSH.iter().enumerate().take(crate::cpu::online()) {
        if last.load(Ordering::SeqCst) <= stamp
            && let Some(cpu) = u32::try_from(index).ok().and_then(CpuId::new)
        {
            stale.insert(cpu);
        }
    }
    stale
}

/// The clock would wrap: everybody flushes and counts from the start. Stamps of the old epoch are larger than any
/// `LAST_FLUSH` of the new one, so they cause a flush too many, never one too few.
fn start_epoch() {
    let _guard = EPOCH.lock();
    CLOCK.store(1, Ordering::SeqCst);
    crate::tlb::flush_cpus(CpuSet::ALL);
    for last in &LAST_FLUSH {
        last.store(0, Ordering::SeqCst);
    }
}
