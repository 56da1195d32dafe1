//! The simulated walk caches nothing, but an access that has walked already may still be under way.
//! A flush waits for those, as a real shoot-down waits for the other CPU's instruction to end.
//!
//! A thread is taken to have interrupts on, so a request to flush is served at once, except inside
//! [`with_interrupts_off`]: there it serves requests where the real CPU would, in [`serve`] and in
//! interrupt windows.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::flush_local;
use crate::addr::{CpuSet, MAX_CPUS};
use crate::per_cpu::current;
use crate::processor;

/// Odd while the CPU is between the walk and the end of its access.
static ACCESSES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// CPUs that have their interrupts off.
static MASKED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// How often each CPU has been asked to flush while its interrupts were off, and how many of those
/// it has served.
static ASKED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SERVED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs a walk and the access that relies on it.
pub(crate) fn during_access<T>(access: impl FnOnce() -> T) -> T {
    let count = &ACCESSES[current().index()];
    count.fetch_add(1, Ordering::SeqCst);
    fence(Ordering::SeqCst);
    let result = access();
    count.fetch_add(1, Ordering::SeqCst);
    result
}

/// Runs `act` as Paravane's code runs on a real CPU: with interrupts off.
pub fn with_interrupts_off<T>(act: impl FnOnce() -> T) -> T {
    let here = current().index();
    MASKED[here].store(true, Ordering::SeqCst);
    let result = act();
    MASKED[here].store(false, Ordering::SeqCst);
    serve_request();
    result
}

pub(super) const fn flush_all() {}

/// Flushes if another CPU waits for it. Callers wait for another thread, which may have no
/// processor: it gets this one's.
pub fn serve() {
    serve_request();
    std::thread::yield_now();
}

/// As [`serve`], for a caller that is not waiting.
pub(crate) fn serve_request() {
    let here = current().index();
    let asked = ASKED[here].load(Ordering::SeqCst);
    if SERVED[here].load(Ordering::SeqCst) != asked {
        flush_local();
        SERVED[here].store(asked, Ordering::SeqCst);
    }
}

/// Stands for the same on every CPU.
pub fn write_back_everywhere() {
    processor::write_back_caches();
}

/// Returns when no CPU of the set relies on a walk that it made before the call.
pub fn flush_cpus(set: CpuSet) {
    fence(Ordering::SeqCst);
    let here = current();
    if set.contains(here) {
        flush_local();
    }
    for cpu in set.iter().filter(|&cpu| cpu != here) {
        let index = cpu.index();
        let ticket = ASKED[index].fetch_add(1, Ordering::SeqCst) + 1;
        while MASKED[index].load(Ordering::SeqCst) && SERVED[index].load(Ordering::SeqCst) < ticket {
            serve();
        }
        let count = &ACCESSES[index];
        let seen = count.load(Ordering::SeqCst);
        while seen & 1 == 1 && count.load(Ordering::SeqCst) == seen {
            core::hint::spin_loop();
        }
    }
}
