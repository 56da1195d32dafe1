#![expect(unsafe_code, reason = "calls a function on another CPU's stack")]
//! A rendezvous of all CPUs: while they wait with interrupts off, each acts in turn.
//!
//! A CPU joins where it serves flush requests (`tlb::serve`): at an interrupt, or while it waits
//! for a lock or for a flush. It may hold locks then, so what it does in its turn takes none, and
//! does not log.
//!
//! RV-1: the pointer in [`ACTION`] is valid while the state counts a CPU as present. A CPU that has
//! not joined before the phase changes from [`CALLING`] does not join, and the CPU that called does
//! not return before all have left.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;

use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use crate::per_cpu;
use crate::time;

/// The phase in the upper half, the number of CPUs that are present in the lower half.
static STATE: AtomicU64 = AtomicU64::new(NONE);
const PHASE: u64 = !0 << 32;
/// There is no rendezvous.
const NONE: u64 = 0;
/// A CPU prepares one.
const PREPARING: u64 = 1 << 32;
/// CPUs may join.
const CALLING: u64 = 2 << 32;
/// All are present and act in turn.
const ACTING: u64 = 3 << 32;
/// Those that are present leave.
const LEAVING: u64 = 4 << 32;

/// What each CPU does: a pointer to a reference to a function.
static ACTION: AtomicPtr<Action<'static>> = AtomicPtr::new(core::ptr::null_mut());
type Action<'a> = &'a (dyn Fn() + Sync);

/// One more than the number of the CPU whose turn it is; zero while it is no CPU's.
static TURN: AtomicU32 = AtomicU32::new(0);

/// The longest turn, in nanoseconds.
const MAX_TURN: u64 = 1_000_000_000;

/// Why there was no rendezvous.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missed {
    /// Another CPU has called one.
    Busy,
    /// Not all CPUs joined within [`backend::PATIENCE`].
    Absent,
}

/// Waits until all online CPUs are present, and runs `first`. If that returns `true`, each other
/// CPU runs `others`, one after another.
///
/// # Errors
/// If not all CPUs are present; nothing has been run then.
///
/// # Panics
/// If a turn takes longer than a second: the CPU is lost, and with it the host.
pub(crate) fn in_turn(first: impl FnOnce() -> bool, others: Action<'_>) -> Result<(), Missed> {
    if STATE.compare_exchange(NONE, PREPARING, Ordering::Acquire, Ordering::Relaxed).is_err() {
        return Err(Missed::Busy);
    }
    ACTION.store((&raw const others).cast_mut().cast(), Ordering::Relaxed);
    STATE.store(CALLING, Ordering::Release);
    let here = per_cpu::current();
    let absent = || per_cpu::all_online().filter(|&cpu| cpu != here);
    absent().for_each(backend::interrupt);
    let all = CALLING | absent().count() as u64;
    let met = wait(backend::PATIENCE, || STATE.load(Ordering::Acquire) == all);
    if met && STATE.compare_exchange(all, ACTING | (all & !PHASE), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
        if first() {
            for cpu in absent() {
                TURN.store(cpu.number() + 1, Ordering::Release);
                let done = wait(MAX_TURN, || TURN.load(Ordering::Acquire) == 0);
                assert!(done, "CPU {} does not return from its turn", cpu.number());
            }
        }
        leave();
        return Ok(());
    }
    leave();
    Err(Missed::Absent)
}

/// Ends the rendezvous. Returns when no other CPU is present.
fn leave() {
    let _ = STATE.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| Some(LEAVING | (state & !PHASE)));
    while STATE.load(Ordering::Acquire) != LEAVING {
        backend::relax();
    }
    STATE.store(NONE, Ordering::Release);
}

/// Waits until `condition` is true, or the time is over.
fn wait(nanoseconds: u64, condition: impl Fn() -> bool) -> bool {
    let end = time::now().saturating_add(nanoseconds);
    while !condition() {
        if time::now() >= end {
            return condition();
        }
        backend::relax();
    }
    true
}

/// Takes part in the rendezvous that another CPU has called, if there is one.
pub(crate) fn join() {
    let come = |state: u64| (state & PHASE == CALLING).then(|| state + 1);
    if STATE.fetch_update(Ordering::AcqRel, Ordering::Relaxed, come).is_err() {
        return;
    }
    let turn = per_cpu::current().number() + 1;
    while STATE.load(Ordering::Acquire) & PHASE != LEAVING {
        if TURN.load(Ordering::Acquire) == turn {
            // SAFETY: this CPU is counted as present, so the reference and its function exist
            // (RV-1).
            let action = unsafe { *ACTION.load(Ordering::Relaxed) };
            action();
            TURN.store(0, Ordering::Release);
        }
        backend::relax();
    }
    STATE.fetch_sub(1, Ordering::Release);
}

#[cfg(test)]
mod tests;
