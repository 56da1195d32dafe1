//! The simulated walk caches nothing, but an access may be in progress after its walk. A flush
//! waits for such accesses, as a real shootdown waits for the end of the other CPU's instruction.
//!
//! A thread is assumed to have interrupts on, so a flush request is served immediately. Inside
//! [`with_interrupts_off`] it serves requests where a real CPU would: in [`serve`] and in interrupt
//! windows.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::flush_local;
use crate::addr::{CpuSet, MAX_CPUS};
use crate::per_cpu::current;
use crate::{processor, rendezvous};

/// Odd while the CPU is between a walk and the end of its access.
static ACCESSES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// CPUs that have their interrupts off.
static MASKED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// Number of flush requests to each CPU while its interrupts were off, and the number of those it
/// has served.
static REQUESTED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SERVED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs a walk and the access that depends on it.
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

/// Serves a flush request of another CPU, if there is one. Callers wait for another thread, so this
/// yields the processor.
pub fn serve() {
    serve_request();
    std::thread::yield_now();
}

/// As [`serve`], for callers that do not wait. Joins a rendezvous.
pub(crate) fn serve_request() {
    rendezvous::join();
    let here = current().index();
    let requested = REQUESTED[here].load(Ordering::SeqCst);
    if SERVED[here].load(Ordering::SeqCst) != requested {
        flush_local();
        SERVED[here].store(requested, Ordering::SeqCst);
    }
}

/// Simulates the operation on every CPU.
pub fn write_back_everywhere() {
    processor::write_back_caches();
}

/// Returns when no CPU of the set uses a walk from before the call.
pub fn flush_cpus(set: CpuSet) {
    fence(Ordering::SeqCst);
    let here = current();
    if set.contains(here) {
        flush_local();
    }
    for cpu in set.iter().filter(|&cpu| cpu != here) {
        let index = cpu.index();
        let ticket = REQUESTED[index].fetch_add(1, Ordering::SeqCst) + 1;
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
