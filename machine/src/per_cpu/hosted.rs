//! Threads as CPUs: a thread becomes a CPU when it first asks which one it is, and its number is
//! free again when it ends.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Pending;
use crate::addr::{CpuId, MAX_CPUS};

/// No deadline.
pub(crate) const NEVER: u64 = u64::MAX;

static TAKEN: AtomicU64 = AtomicU64::new(0);
static ONLINE: AtomicUsize = AtomicUsize::new(1);
static PENDING: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static DEADLINES: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(NEVER) }; MAX_CPUS];
static WAKE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

struct Number(CpuId);

impl Number {
    fn take() -> Self {
        let before = TAKEN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| Some(taken | (taken + 1)));
        let number = before.unwrap_or(u64::MAX).trailing_ones();
        let cpu = CpuId::new(number).expect("no more threads at a time than there can be CPUs");
        ONLINE.fetch_max(cpu.index() + 1, Ordering::SeqCst);
        PENDING[cpu.index()].store(0, Ordering::SeqCst);
        deadline(cpu).store(NEVER, Ordering::SeqCst);
        Self(cpu)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        TAKEN.fetch_and(!(1 << self.0.index()), Ordering::SeqCst);
    }
}

std::thread_local! {
    static NUMBER: Number = Number::take();
}

/// The number of this CPU.
pub fn current() -> CpuId {
    // A destructor of another thread-local value may run after the number's
    NUMBER.try_with(|number| number.0).unwrap_or(CpuId::BOOT)
}

/// How many CPUs have ever been running.
pub fn online() -> usize {
    ONLINE.load(Ordering::SeqCst)
}

/// The number of a CPU's local APIC.
pub const fn apic_id(cpu: CpuId) -> u32 {
    cpu.number()
}

/// Makes something pending on a CPU.
pub(crate) fn record(cpu: CpuId, event: Pending) {
    let _guard = WAKE.0.lock();
    PENDING[cpu.index()].fetch_or(event.bits(), Ordering::SeqCst);
    WAKE.1.notify_all();
}

/// Ignored: a test process has no crash message to show it in.
pub const fn note_running(_: Option<(u16, u32)>) {}

/// Returns this CPU's pending set and empties it.
pub(crate) fn take() -> Pending {
    Pending::from_bits_retain(PENDING[current().index()].swap(0, Ordering::SeqCst))
}

/// The deadline of a CPU's timer, in nanoseconds of the clock; [`NEVER`] if it has none.
pub(crate) fn deadline(cpu: CpuId) -> &'static AtomicU64 {
    &DEADLINES[cpu.index()]
}

/// Waits until this CPU has something pending or `is_due`. Runs `meanwhile` about every
/// millisecond.
pub(crate) fn wait(is_due: impl Fn() -> bool, meanwhile: impl Fn()) {
    let here = current();
    meanwhile();
    let mut guard = WAKE.0.lock().unwrap_or_else(PoisonError::into_inner);
    while PENDING[here.index()].load(Ordering::SeqCst) == 0 && !is_due() {
        // short, since the deadline may move with the clock
        let waited = WAKE.1.wait_timeout(guard, Duration::from_millis(1));
        guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        meanwhile();
    }
}
