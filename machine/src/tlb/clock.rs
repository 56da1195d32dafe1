//! The TLB clock: when each CPU last dropped every translation that it had cached.
//!
//! A frame that changes its use (writable to page table, one owner to the next) must not be
//! reachable through a stale translation. Instead of flushing at each unmapping, a frame records
//! the clock when its last use ends, and the CPU that gives it a new use flushes only those CPUs
//! that have not flushed since. A CPU that runs no guest has Paravane's own root loaded and is not
//! asked, nor is one that runs a guest which cannot have mapped the frame.
//!
//! TC-1: if `last_flush[cpu] > stamp`, then `cpu` has flushed completely after the moment the stamp
//! was read. It holds because a CPU notes the clock it read *before* its flush, and the clock moves
//! on only in `ensure_flushed_since`.
//!
//! TC-2: while `last_flush[cpu]` is `NOTHING_CACHED`, `cpu` has no translation of guest memory,
//! except the pages of descriptors in its windows, which the vCPU loaded there holds references to.
//! The CPU sets that *after* it has left the guest's root with a flush, and clears it *before* it
//! loads one: a CPU that finds it set has done its unmapping before any walk of `cpu`.
//!
//! TC-3: while a CPU runs a guest, its translations come from tables of the domain in
//! `holder[cpu]`, noted *before* a root of that domain's is loaded. The frames that they lead to
//! are that domain's own; or, *before* the entry stood in the table, the frame was marked as
//! shared, until it is given to its next owner, and the domain was noted as one that maps frames of
//! others, until it owns no frame and so no table (`frames::maps_others`). Frames that are not RAM
//! are neither owned nor shared, and never become RAM while mapped.
//!
//! TC-4: a translation that can be written through and leads to another domain's frame comes from
//! an entry that stood in a table after the frame was marked as shared for writing, and that has
//! used the frame as `Writable` while it stood. The mark is taken back by a change of kind from
//! `Writable`, which excludes such uses (FT-2, BUSY), after it has flushed the CPUs of all domains
//! that map frames of others. So without the mark there is no such translation.
//!
//! Use of the marks: a frame that gets another owner must not even be read through a stale
//! translation, so `shared` decides (`Slot::ensure_flushed`). A frame that changes its kind may be
//! read, and only a writable translation does harm, so `shared_writable` decides; where the frame
//! was a table, the owner's CPUs may have cached walks of it (`Slot::ensure_flushed_of`).
//!
//! A guest can interrupt by this the CPUs that run the guest itself, and those that run domains
//! which map frames of others, once for each time that one of them maps a frame of the guest. A
//! guest that maps only its own frames is never interrupted for another guest.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use abi::xen::DomainId;

use crate::addr::{CpuSet, MAX_CPUS, PerCpu};
use crate::counters::{self, Counter};
use crate::integers::low_u32;
use crate::per_cpu;

/// 64 bits never wrap.
static CLOCK: AtomicU64 = AtomicU64::new(1);
static LAST_FLUSH: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(NOTHING_CACHED) }; MAX_CPUS]);
/// Later than every stamp (TC-2).
const NOTHING_CACHED: u64 = u64::MAX;
/// Whose root each CPU has loaded (TC-3).
static HOLDER: PerCpu<AtomicU16> = PerCpu::new([const { AtomicU16::new(0) }; MAX_CPUS]);

/// The low half of the clock, as a frame has room for it.
pub(crate) type Stamp = u32;

#[inline]
fn clock() -> u64 {
    CLOCK.load(Ordering::SeqCst)
}

/// The clock now: a stamp for a use that has just ended.
#[inline]
pub(crate) fn now() -> Stamp {
    low_u32(clock())
}

/// Moves the clock on, as a flush by another CPU would.
#[cfg(test)]
pub(crate) fn advance() {
    CLOCK.fetch_add(1, Ordering::SeqCst);
}

/// The last moment at which a stamp can have been read. A stamp that is older than a whole round of
/// its bits seems younger than it is, which causes an extra flush, never a missing one.
const fn latest(stamp: Stamp, clock: u64) -> u64 {
    clock.saturating_sub(low_u32(clock).wrapping_sub(stamp) as u64)
}

fn note(last_flush: u64) {
    LAST_FLUSH[per_cpu::current()].store(last_flush, Ordering::SeqCst);
}

/// Whether this CPU has no translation to drop (TC-2).
pub(crate) fn has_nothing_cached() -> bool {
    LAST_FLUSH[per_cpu::current()].load(Ordering::Relaxed) == NOTHING_CACHED
}

/// Runs `flush`, which drops every translation that this CPU has cached, and notes that it did.
pub(crate) fn around_flush(flush: impl FnOnce()) {
    let before = clock();
    flush();
    note(before);
}

/// Runs `load`, which loads a root of `holder`'s where Paravane's own was.
pub(crate) fn around_entry(holder: DomainId, load: impl FnOnce()) {
    HOLDER[per_cpu::current()].store(holder.0, Ordering::SeqCst);
    // Nothing is cached, which is as good as a flush.
    note(clock());
    load();
}

/// Runs `load`, which leaves the guest's root for Paravane's own, with a flush.
pub(crate) fn around_leaving(load: impl FnOnce()) {
    load();
    note(NOTHING_CACHED);
}

/// Returns when no CPU that runs a domain of which `may_map` holds has a translation older than
/// `stamp` (TC-3).
pub(crate) fn ensure_flushed_since(stamp: Stamp, may_map: impl Fn(DomainId) -> bool) {
    let moment = latest(stamp, clock());
    let stale = stale_cpus(moment, may_map);
    if stale.is_empty() {
        return;
    }
    // The clock must have moved past the stamp before the flush, so that the flush counts (TC-1).
    // If another CPU moves it, that is as good.
    let _moved = CLOCK.compare_exchange(moment, moment + 1, Ordering::SeqCst, Ordering::SeqCst);
    let mut others = stale;
    others.remove(per_cpu::current());
    counters::add(Counter::FlushesOfOthers, others.iter().count() as u64);
    super::flush_cpus(stale);
}

fn stale_cpus(moment: u64, may_map: impl Fn(DomainId) -> bool) -> CpuSet {
    let mut stale = CpuSet::EMPTY;
    for cpu in per_cpu::all_online() {
        // In this order: a CPU that is found with an old flush has noted its holder before that
        // (TC-3).
        if LAST_FLUSH[cpu].load(Ordering::SeqCst) <= moment && may_map(DomainId(HOLDER[cpu].load(Ordering::SeqCst))) {
            stale.insert(cpu);
        }
    }
    stale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;

    const OWNER: DomainId = DomainId(7);

    fn of_owner(holder: DomainId) -> bool {
        holder == OWNER
    }

    #[test]
    fn a_stamp_is_never_taken_for_an_older_one() {
        const ROUND: u64 = 1 << 32;
        for clock in [1, 1000, ROUND - 1, ROUND, ROUND + 1, 7 * ROUND + 5] {
            for age in [0, 1, 900, ROUND - 1, ROUND, ROUND + 1, 3 * ROUND] {
                let Some(moment) = u64::checked_sub(clock, age) else { continue };
                let taken_for = latest(moment as Stamp, clock);
                assert!((moment..=clock).contains(&taken_for), "{moment} at {clock}");
                assert!(age >= ROUND || taken_for == moment, "{moment} at {clock}");
            }
        }
    }

    #[test]
    fn a_flush_counts_when_the_clock_passes_the_width_of_a_stamp() {
        crate::hosted::start(64);
        CLOCK.store(u64::from(u32::MAX) - 2, Ordering::SeqCst);
        around_entry(OWNER, || ());
        for _ in 0..6 {
            let stamp = now();
            assert!(!stale_cpus(latest(stamp, clock()), of_owner).is_empty());
            ensure_flushed_since(stamp, of_owner);
            assert!(stale_cpus(latest(stamp, clock()), of_owner).is_empty());
        }
    }

    #[test]
    fn a_cpu_that_runs_no_guest_is_left_in_peace() {
        crate::hosted::start(64);
        let stamp = now();
        let is_stale = || !stale_cpus(latest(stamp, clock()), of_owner).is_empty();
        assert!(!is_stale(), "before its first guest");
        around_entry(OWNER, || assert!(is_stale(), "noted before the root is loaded"));
        assert!(is_stale());
        around_leaving(|| assert!(is_stale(), "until the root has been left"));
        assert!(!is_stale());
        around_entry(OWNER, || ());
        assert!(is_stale(), "what was unmapped meanwhile may have been unmapped after the first walk");
        ensure_flushed_since(stamp, of_owner);
        assert!(!is_stale());
    }

    #[test]
    fn a_cpu_that_runs_another_guest_is_left_in_peace_unless_that_maps_frames_of_others() {
        const MAPPER: DomainId = DomainId(9);
        crate::hosted::start(64);
        let list = frames::FrameList::new(MAPPER);
        list.push(frames::allocate(MAPPER).unwrap());
        frames::note_maps_others(MAPPER);
        let stamp = now();
        type MayMap = fn(DomainId) -> bool;
        let is_stale = |may_map: MayMap| !stale_cpus(latest(stamp, clock()), may_map).is_empty();
        let own: MayMap = of_owner;
        let shared: MayMap = |holder| holder == OWNER || frames::maps_others(holder);
        around_entry(OWNER, || assert!(is_stale(own), "noted before the root is loaded"));
        assert!(is_stale(own) && is_stale(shared) && !is_stale(|holder| holder == MAPPER));
        around_leaving(|| ());
        around_entry(DomainId(8), || ());
        assert!(!is_stale(own) && !is_stale(shared), "it has nothing of others' to forget");
        around_leaving(|| ());
        around_entry(MAPPER, || ());
        assert!(!is_stale(own) && is_stale(shared));
        drop(list.pop());
        assert!(!is_stale(shared), "without a frame it has no table that maps any");
    }
}
