#![expect(unsafe_code, reason = "loads the root table again to flush")]
//! Flushing this CPU's translations, and the mailboxes by which CPUs ask each other to.

use core::sync::atomic::{AtomicU64, Ordering};

use super::flush_local;
use crate::addr::{CpuSet, MAX_CPUS, PerCpu};
use crate::counters::{Counter, count};
use crate::processor::{self, registers};
use crate::{apic, per_cpu, vectors};

/// How often each CPU has been asked to flush, and the count at its last flush on request.
static ASKED: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);
static SERVED: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

/// The CPUs that are to write back their caches too when they are next asked to flush.
static WRITE_BACK: AtomicU64 = AtomicU64::new(0);

/// Drops everything that is cached of guests' memory. Their translations are never global, and no
/// PCID is in use, so loading the root again does it; Paravane's own global ones never change.
pub(super) fn flush_all() {
    count(Counter::Flushes);
    // SAFETY: loads the root that is loaded already.
    unsafe { registers::write_cr3(registers::read_cr3()) };
}

/// Flushes if another CPU waits for it.
pub fn serve() {
    let here = per_cpu::current();
    // the count is read before the flush: a request that comes in between is served next time
    let asked = ASKED[here].load(Ordering::Acquire);
    if SERVED[here].load(Ordering::Relaxed) != asked {
        flush_local();
        write_back_if_asked();
        SERVED[here].store(asked, Ordering::Release);
    }
}

/// Returns when every CPU that is online has written back and emptied its caches.
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

/// Returns when each CPU of the set that is online has dropped everything that it had cached.
pub fn flush_cpus(set: CpuSet) {
    let here = per_cpu::current();
    let mut others = CpuSet::from_bits(set.bits() & per_cpu::online_set().bits());
    others.remove(here);
    let mut tickets = [0; MAX_CPUS];
    for (cpu, ticket) in others.iter().zip(&mut tickets) {
        *ticket = ASKED[cpu].fetch_add(1, Ordering::AcqRel) + 1;
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
