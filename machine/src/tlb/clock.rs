//! The TLB clock: the time of each CPU's last full flush.
//!
//! A frame that changes its use (writable to page table, one owner to the next) must not be
//! accessible through a stale translation. Instead of flushing at each unmapping, a frame records
//! the clock when its last use ends, and the CPU that gives it a new use flushes only those CPUs
//! that have not flushed since. A CPU that runs no guest has Paravane's own root loaded and gets no
//! request. Neither does a CPU whose guest cannot have mapped the frame.
//!
//! TC-1: if `last_flush[cpu] > stamp`, then `cpu` has flushed completely after the stamp was read.
//! This holds because a CPU records the clock value read *before* its flush, and the clock advances
//! only in `ensure_flushed_since`.
//!
//! TC-2: while `last_flush[cpu]` is `NOTHING_CACHED`, `cpu` has no translation of guest memory,
//! except for the descriptor pages in its windows, to which the loaded vCPU holds references. The
//! CPU sets this value *after* it has left the guest's root with a flush, and clears it *before* it
//! loads one: a CPU that sees the value has done its unmapping before any walk of `cpu`.
//!
//! TC-3: while a CPU runs a guest, its translations come from tables of the domain in
//! `holder[cpu]`, recorded *before* a root of that domain is loaded. The frames that they map
//! belong to that domain; or, *before* the entry was stored in the table, the frame was marked as
//! shared, until its next allocation, and the domain was recorded as one that maps frames of
//! others, until it owns no frame and so no table (`frames::maps_others`). Frames that are not RAM
//! are neither owned nor shared, and never become RAM while mapped.
//!
//! TC-4: a writable translation of another domain's frame comes from an entry that was stored in a
//! table after the frame was marked as shared for writing, and that held a use of the frame as
//! `Writable` while it was stored. The mark is cleared by a change of kind from `Writable`, which
//! excludes such uses (FT-2, BUSY), after it has flushed the CPUs of all domains that map frames of
//! others. So without the mark there is no such translation.
//!
//! Use of the marks: a frame that gets another owner must not even be readable through a stale
//! translation, so `shared` decides (`Slot::ensure_flushed`). A frame that changes its kind may be
//! read, and only a writable translation is harmful, so `shared_writable` decides. If the frame was
//! a table, the owner's CPUs may have cached walks of it (`Slot::ensure_flushed_of`).
//!
//! A guest causes flush requests by changing the use of its frames. They interrupt CPUs that run
//! the guest itself. They also interrupt CPUs that run a domain which maps frames of others, at
//! most once for each time that such a domain has mapped a frame of the guest. A guest that maps
//! only its own frames is never interrupted on behalf of another guest.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use abi::xen::DomainId;

use crate::addr::{CpuSet, MAX_CPUS, PerCpu};
use crate::counters::{self, Counter};
use crate::integers::low_u32;
use crate::per_cpu;

/// A 64-bit counter that never wraps.
static CLOCK: AtomicU64 = AtomicU64::new(1);
static LAST_FLUSH: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(NOTHING_CACHED) }; MAX_CPUS]);
/// Greater than every stamp (TC-2).
const NOTHING_CACHED: u64 = u64::MAX;
/// The domain whose root each CPU has loaded (TC-3).
static HOLDER: PerCpu<AtomicU16> = PerCpu::new([const { AtomicU16::new(0) }; MAX_CPUS]);

/// The lower half of the clock, which fits into a frame's slot.
pub(crate) type Stamp = u32;

#[inline]
fn clock() -> u64 {
    CLOCK.load(Ordering::SeqCst)
}

/// The current clock: a stamp for a use that has just ended.
#[inline]
pub(crate) fn now() -> Stamp {
    low_u32(clock())
}

/// Advances the clock, as a flush by another CPU would.
#[cfg(test)]
pub(crate) fn advance() {
    CLOCK.fetch_add(1, Ordering::SeqCst);
}

/// The latest value of the clock whose lower half is `stamp`. A stamp from more than 2³² clock
/// values ago is taken for a younger one, which can cause an extra flush but no missing one.
const fn latest(stamp: Stamp, clock: u64) -> u64 {
    clock.saturating_sub(low_u32(clock).wrapping_sub(stamp) as u64)
}

fn note(last_flush: u64) {
    LAST_FLUSH[per_cpu::current()].store(last_flush, Ordering::SeqCst);
}

/// Whether this CPU has no cached translation (TC-2).
pub(crate) fn has_nothing_cached() -> bool {
    LAST_FLUSH[per_cpu::current()].load(Ordering::Relaxed) == NOTHING_CACHED
}

/// Runs `flush`, which flushes all of this CPU's translations, and records it.
pub(crate) fn around_flush(flush: impl FnOnce()) {
    let before = clock();
    flush();
    note(before);
}

/// Runs `load`, which replaces Paravane's own root by a root of `holder`.
pub(crate) fn around_entry(holder: DomainId, load: impl FnOnce()) {
    HOLDER[per_cpu::current()].store(holder.0, Ordering::SeqCst);
    // Nothing is cached, which is equivalent to a flush.
    note(clock());
    load();
}

/// Runs `load`, which replaces the guest's root by Paravane's own, with a flush.
pub(crate) fn around_leaving(load: impl FnOnce()) {
    load();
    note(NOTHING_CACHED);
}

/// Returns when no CPU that runs a domain for which `may_map` is true has a translation older than
/// `stamp` (TC-3).
pub(crate) fn ensure_flushed_since(stamp: Stamp, may_map: impl Fn(DomainId) -> bool) {
    let moment = latest(stamp, clock());
    let stale = stale_cpus(moment, may_map);
    if stale.is_empty() {
        return;
    }
    // The clock must have passed the stamp before the flush, so that the flush counts (TC-1). If
    // another CPU advances it, that is sufficient.
    let _moved = CLOCK.compare_exchange(moment, moment + 1, Ordering::SeqCst, Ordering::SeqCst);
    let mut others = stale;
    others.remove(per_cpu::current());
    counters::add(Counter::FlushesOfOthers, others.iter().count() as u64);
    super::flush_cpus(stale);
}

fn stale_cpus(moment: u64, may_map: impl Fn(DomainId) -> bool) -> CpuSet {
    let mut stale = CpuSet::EMPTY;
    for cpu in per_cpu::all_online() {
        // The order matters: a CPU that is seen with an old flush has recorded its holder before
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
    use crate::frames::{self, Budget, FrameRef, L1, NoEntries, TypedRef, Writable};
    use std::vec::Vec;

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

    /// Ends a use of the frame as writable memory on a CPU that runs its owner.
    fn end_writable_use(frame: &FrameRef) -> Stamp {
        around_entry(OWNER, || ());
        let page = TypedRef::<Writable>::acquire(frame.again(), &mut NoEntries, &mut Budget::new(100));
        drop(page.expect("memory"));
        now()
    }

    #[test]
    fn a_change_of_kind_flushes_the_translations_of_the_former_use() {
        crate::hosted::start(64);
        let frame = frames::allocate(OWNER).expect("a free frame").into_reference();
        let stamp = end_writable_use(&frame);
        let is_stale = || !stale_cpus(latest(stamp, clock()), of_owner).is_empty();
        assert!(is_stale());
        let table = TypedRef::<L1>::acquire(frame, &mut NoEntries, &mut Budget::new(1000));
        assert!(!is_stale(), "the table can still be written through an old translation");
        drop(table.expect("a table without entries"));
    }

    #[test]
    fn a_frame_that_changes_its_owner_has_no_translations_left() {
        crate::hosted::start(64);
        let frame = frames::allocate(OWNER).expect("a free frame").into_reference();
        let mfn = frame.mfn();
        let stamp = end_writable_use(&frame);
        let is_stale = || !stale_cpus(latest(stamp, clock()), of_owner).is_empty();
        drop(frame);
        assert!(is_stale(), "a frame that nobody uses yet needs no flush");
        let mut taken = Vec::new();
        while taken.last().is_none_or(|last: &frames::Allocation| last.reference().mfn() != mfn) {
            taken.push(frames::allocate(DomainId(9)).expect("the frame is free"));
        }
        assert!(!is_stale(), "the former owner can still access the frame");
    }

    #[test]
    fn a_cpu_that_runs_no_guest_gets_no_flush_request() {
        crate::hosted::start(64);
        let stamp = now();
        let is_stale = || !stale_cpus(latest(stamp, clock()), of_owner).is_empty();
        assert!(!is_stale(), "before its first guest");
        around_entry(OWNER, || assert!(is_stale(), "recorded before the root is loaded"));
        assert!(is_stale());
        around_leaving(|| assert!(is_stale(), "until the root has been left"));
        assert!(!is_stale());
        around_entry(OWNER, || ());
        assert!(is_stale(), "the unmapping may have followed the first walk");
        ensure_flushed_since(stamp, of_owner);
        assert!(!is_stale());
    }

    #[test]
    fn a_cpu_that_runs_another_guest_gets_no_flush_request_unless_that_maps_frames_of_others() {
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
        around_entry(OWNER, || assert!(is_stale(own), "recorded before the root is loaded"));
        assert!(is_stale(own) && is_stale(shared) && !is_stale(|holder| holder == MAPPER));
        around_leaving(|| ());
        around_entry(DomainId(8), || ());
        assert!(!is_stale(own) && !is_stale(shared), "it has no translation of another domain's frame");
        around_leaving(|| ());
        around_entry(MAPPER, || ());
        assert!(!is_stale(own) && is_stale(shared));
        drop(list.pop());
        assert!(!is_stale(shared), "without a frame it has no table");
    }
}
