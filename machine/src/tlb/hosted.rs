//! Flushing the [simulated TLBs](super::simulated).
//!
//! A thread is assumed to have interrupts on, so a flush request is served immediately. Inside
//! [`with_interrupts_off`] it serves requests where a real CPU would: in [`serve`] and in interrupt
//! windows.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use super::{flush_local, simulated};
use crate::addr::{CpuSet, MAX_CPUS};
use crate::per_cpu::current;
use crate::{processor, rendezvous};

/// CPUs that have their interrupts off.
static MASKED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// Number of flush requests to each CPU while its interrupts were off, and the number of those it
/// has served.
static REQUESTED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static SERVED: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Runs `act` as Paravane's code runs on a real CPU: with interrupts off.
pub fn with_interrupts_off<T>(act: impl FnOnce() -> T) -> T {
    let here = current().index();
    MASKED[here].store(true, Ordering::SeqCst);
    let result = act();
    MASKED[here].store(false, Ordering::SeqCst);
    serve_request();
    result
}

/// Flushes this CPU's translations, as by loading the root again.
pub(super) fn flush_all() {
    simulated::here().drop_all("a flush");
}

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

/// Returns when no CPU of the set has a translation from before the call.
pub fn flush_cpus(set: CpuSet) {
    fence(Ordering::SeqCst);
    let here = current();
    if set.contains(here) {
        flush_local();
    }
    for cpu in set.iter().filter(|&cpu| cpu != here) {
        let index = cpu.index();
        let ticket = REQUESTED[index].fetch_add(1, Ordering::SeqCst) + 1;
        while SERVED[index].load(Ordering::SeqCst) < ticket {
            if !MASKED[index].load(Ordering::SeqCst) {
                // With its interrupts on, a real CPU would have served the request by now.
                simulated::of(cpu).drop_all("a flush request");
                break;
            }
            serve();
        }
    }
}
