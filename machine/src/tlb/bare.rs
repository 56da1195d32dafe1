#![expect(unsafe_code, reason = "loads the root table again to flush")]
//! Flushing this CPU's translations, and the mailboxes for flush requests between CPUs.

use core::sync::atomic::{AtomicU64, Ordering};

use super::flush_local;
use crate::addr::{CpuSet, MAX_CPUS, PerCpu};
use crate::counters::{Counter, count};
use crate::processor::{self, registers};
use crate::{apic, per_cpu, rendezvous, vectors};

/// Number of flush requests to each CPU, and that number at its last flush on request.
static REQUESTED: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);
static SERVED: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// The CPUs that must also write back their caches at the next flush request.
static WRITE_BACK: AtomicU64 = AtomicU64::new(0);

/// Flushes all cached translations of guest memory. They are never global, and no PCID is in use,
/// so reloading the root flushes them. Paravane's own global translations never change.
pub(super) fn flush_all() {
    count(Counter::Flushes);
    // SAFETY: reloads the current root.
    unsafe { registers::write_cr3(registers::read_cr3()) };
}

/// Serves a flush request of another CPU, if there is one, and joins a rendezvous.
pub fn serve() {
    rendezvous::join();
    let here = per_cpu::current();
    // The count is read before the flush: a request that arrives in between is served next time.
    let requested = REQUESTED[here].load(Ordering::Acquire);
    if SERVED[here].load(Ordering::Relaxed) != requested {
        flush_local();
        write_back_if_asked();
        SERVED[here].store(requested, Ordering::Release);
    }
}

/// Returns when every online CPU has written back and invalidated its caches.
pub fn write_back_everywhere() {
    WRITE_BACK.fetch_or(per_cpu::online_set().bits(), Ordering::AcqRel);
    flush_cpus(CpuSet::ALL);
    write_back_if_asked();
}

fn write_back_if_asked() {
    let bit = 1 << per_cpu::current().index();
    if WRITE_BACK.load(Ordering::Acquire) & bit != 0 && WRITE_BACK.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
        processor::write_back_caches();
    }
}

/// Returns when each online CPU of the set has flushed all of its translations.
pub fn flush_cpus(set: CpuSet) {
    let here = per_cpu::current();
    let mut others = CpuSet::from_bits(set.bits() & per_cpu::online_set().bits());
    others.remove(here);
    let mut tickets = [0; MAX_CPUS];
    for (cpu, ticket) in others.iter().zip(&mut tickets) {
        *ticket = REQUESTED[cpu].fetch_add(1, Ordering::AcqRel) + 1;
        apic::send(per_cpu::apic_id(cpu), vectors::FLUSH);
    }
    if set.contains(here) {
        flush_local();
    }
    for (cpu, ticket) in others.iter().zip(tickets) {
        while SERVED[cpu].load(Ordering::Acquire) < ticket {
            serve();
            core::hint::spin_loop();
        }
    }
}
