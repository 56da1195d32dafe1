//! Copies of root tables that CPUs have loaded instead of the root tables themselves.
//!
//! A vCPU with split roots runs with a restricted root: a table of its CPU that has copies of the
//! guest's entries of the guest's root table (`context::roots`). A store to a root table must reach
//! the copies, as it would reach a CPU that walks the root table itself.
//!
//! RC-1: when `note_store` returns, no CPU walks a copy of the root table that is older than the
//! store, and none has a translation that came from one. The store happens before the counter of
//! changes advances, and that before `note_store` looks for CPUs that have a copy. A CPU records
//! that it has a copy before it reads the counter, and the counter before it copies. So either
//! `note_store` finds the CPU, and makes it flush and copy again before its guest continues; or the
//! CPU has not read the counter yet, and copies what was stored.
//!
//! RC-2: a root table and a value of its counter denote one state of its entries, or none while a
//! store is in progress, which is followed by another value. The counter also advances when a frame
//! becomes a root table, since its contents changed while it was none.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::flush_cpus;
use crate::addr::{CpuSet, MAX_CPUS, Mfn, PerCpu};
use crate::integers::to_usize;
use crate::per_cpu;

/// Number of counters of changes. Root tables share a counter if the lower bits of their frame
/// numbers are equal; changes of one then cause extra copies of the other.
const COUNTERS: usize = 256;

static CHANGES: [AtomicU64; COUNTERS] = [const { AtomicU64::new(0) }; COUNTERS];

/// The root tables of which each CPU has copies, as frame numbers plus one; zero for none.
static COPIED: PerCpu<[AtomicU64; 2]> = PerCpu::new([const { [const { AtomicU64::new(0) }; 2] }; MAX_CPUS]);

/// Whether each CPU must compare its copies with their counters before it runs its guest.
static STALE: PerCpu<AtomicBool> = PerCpu::new([const { AtomicBool::new(false) }; MAX_CPUS]);

/// Whether any CPU may have copies.
static IN_USE: AtomicBool = AtomicBool::new(false);

#[expect(clippy::indexing_slicing, reason = "a remainder is an index")]
fn counter(root: Mfn) -> &'static AtomicU64 {
    &CHANGES[to_usize(root.get()) % COUNTERS]
}

/// The counter of changes of a root table.
pub(crate) fn changes(root: Mfn) -> u64 {
    counter(root).load(Ordering::SeqCst)
}

/// Records the root tables of which this CPU has copies from now on, and that these may be stale.
pub(crate) fn set_copied(roots: [Option<Mfn>; 2]) {
    IN_USE.store(true, Ordering::SeqCst);
    let here = per_cpu::current();
    for (copied, root) in COPIED[here].iter().zip(roots) {
        copied.store(root.map_or(0, |root| root.get() + 1), Ordering::SeqCst);
    }
    STALE[here].store(true, Ordering::SeqCst);
}

/// Whether this CPU's copies may be stale; resets the answer.
#[inline]
pub(crate) fn take_stale() -> bool {
    let stale = &STALE[per_cpu::current()];
    stale.load(Ordering::Relaxed) && stale.swap(false, Ordering::SeqCst)
}

/// Whether this CPU's copies may be stale.
#[cfg(not(target_os = "none"))]
pub(crate) fn is_stale() -> bool {
    STALE[per_cpu::current()].load(Ordering::SeqCst)
}

/// Records that a frame has become a root table.
pub(crate) fn note_root(root: Mfn) {
    counter(root).fetch_add(1, Ordering::SeqCst);
}

/// Makes a store to a root table known that replaced an absent entry. No CPU needs a flush, but
/// each copies the entry before it runs its guest again.
pub(crate) fn note_addition(root: Mfn) {
    let _users = mark_stale(root);
}

/// Makes a store to a root table known. Returns when no CPU uses an older copy (RC-1).
pub(crate) fn note_store(root: Mfn) {
    let mut users = mark_stale(root);
    // This CPU walks no copy now, and loads one, which flushes, before its guest continues.
    users.remove(per_cpu::current());
    if !users.is_empty() {
        flush_cpus(users);
    }
}

/// Makes all CPUs that have a copy of the root table copy again. Returns these CPUs.
fn mark_stale(root: Mfn) -> CpuSet {
    counter(root).fetch_add(1, Ordering::SeqCst);
    let mut users = CpuSet::EMPTY;
    if !IN_USE.load(Ordering::SeqCst) {
        return users;
    }
    for cpu in per_cpu::all_online() {
        if COPIED[cpu].iter().any(|copied| copied.load(Ordering::SeqCst) == root.get() + 1) {
            STALE[cpu].store(true, Ordering::SeqCst);
            users.insert(cpu);
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::CpuId;

    const ROOT: Mfn = Mfn::new(7);
    const OTHER: Mfn = Mfn::new(8);
    const SAME_COUNTER: Mfn = Mfn::new(7 + COUNTERS as u64);

    #[test]
    fn a_store_reaches_the_copies_of_this_cpu() {
        set_copied([None, Some(ROOT)]);
        assert!(take_stale(), "new copies are compared with the counter");
        assert!(!take_stale());
        let before = changes(ROOT);
        note_store(OTHER);
        assert!(!take_stale() && changes(ROOT) == before);
        note_store(ROOT);
        assert!(take_stale() && changes(ROOT) != before);
        note_store(SAME_COUNTER);
        assert!(!take_stale(), "another root table with the same counter has no copy here");
        set_copied([None; 2]);
        assert!(take_stale());
        note_store(ROOT);
        assert!(!take_stale(), "there is no copy any more");
    }

    #[test]
    fn a_store_reaches_the_copies_of_other_cpus() {
        let (tell, told) = std::sync::mpsc::channel();
        let (go, gone) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            crate::tlb::with_interrupts_off(|| {
                set_copied([Some(OTHER), Some(ROOT)]);
                let seen = changes(ROOT);
                assert!(take_stale());
                tell.send(per_cpu::current()).unwrap();
                while !is_stale() {
                    crate::tlb::serve();
                    core::hint::spin_loop();
                }
                assert_ne!(changes(ROOT), seen);
            });
            gone.recv().unwrap();
        });
        let cpu: CpuId = told.recv().unwrap();
        assert_ne!(cpu, per_cpu::current());
        note_store(ROOT);
        assert!(STALE[cpu].load(Ordering::SeqCst), "it copies again before its guest continues");
        go.send(()).unwrap();
        other.join().unwrap();
    }

    #[test]
    fn a_frame_that_becomes_another_root_is_copied_again() {
        let before = changes(ROOT);
        note_root(ROOT);
        assert_ne!(changes(ROOT), before);
    }
}
