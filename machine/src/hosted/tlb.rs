//! The simulated walk caches nothing, but an access that has walked already may still be under way. A flush waits for
//! those, as a real shoot-down waits for the other CPU's instruction to end.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::cpu;
use crate::addr::{CpuSet, MAX_CPUS};

/// Odd while the CPU is between the walk and the end of its access.
static ACCESSES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs a walk and the access that relies on it.
pub(super) fn during_access<T>(access: impl FnOnce() -> T) -> T {
    let count = &ACCESSES[cpu::current().index()];
    count.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let result = access();
    count.fetch_add(1, Ordering::SeqCst);
    result
}

pub(crate) const fn flush_all() {}

/// Nobody asks by mail here. The thread that this one waits for may have no processor: it gets this one's.
pub fn serve() {
    std::thread::yield_now();
}

/// Returns when no CPU of the set relies on a walk that it made before the call.
pub fn flush_cpus(set: CpuSet) {
    fence(Ordering::SeqCst);
    let here = cpu::current();
    if set.contains(here) {
        crate::tlb::flush_local();
    }
    for cpu in set.iter().filter(|&cpu| cpu != here) {
        let count = &ACCESSES[cpu.index()];
        let seen = count.load(Ordering::SeqCst);
        while seen & 1 == 1 && count.load(Ordering::SeqCst) == seen {
            core::hint::spin_loop();
        }
    }
}
