//! Threads as CPUs: a thread becomes a CPU when it first queries its number. The number is free
//! again when the thread ends.

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
        let cpu = CpuId::new(number).expect("at most MAX_CPUS threads exist at a time");
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
    // A destructor of another thread-local value may run after the number's.
    NUMBER.try_with(|number| number.0).unwrap_or(CpuId::BOOT)
}

/// The maximum number of CPUs that have run at a time.
pub fn online() -> usize {
    ONLINE.load(Ordering::SeqCst)
}

static PARKED: AtomicUsize = AtomicUsize::new(0);

/// The number of CPUs that have been started but do nothing: none, unless a test sets it.
pub fn parked() -> usize {
    PARKED.load(Ordering::SeqCst)
}

/// Sets the number of CPUs that do nothing.
pub fn set_parked(count: usize) {
    PARKED.store(count, Ordering::SeqCst);
}

/// The local APIC ID of a CPU.
pub const fn apic_id(cpu: CpuId) -> u32 {
    cpu.number()
}

/// Adds to a CPU's pending set.
pub(crate) fn record(cpu: CpuId, event: Pending) {
    let _guard = WAKE.0.lock();
    PENDING[cpu.index()].fetch_or(event.bits(), Ordering::SeqCst);
    WAKE.1.notify_all();
}

/// Ignored: a test process prints no crash message.
pub const fn note_running(_: Option<(u16, u32)>) {}

/// Returns this CPU's pending set and clears it.
pub(crate) fn take() -> Pending {
    Pending::from_bits_retain(PENDING[current().index()].swap(0, Ordering::SeqCst))
}

/// The deadline of a CPU's timer, in nanoseconds of the clock; [`NEVER`] if none is set.
pub(crate) fn deadline(cpu: CpuId) -> &'static AtomicU64 {
    &DEADLINES[cpu.index()]
}

/// Waits until this CPU's pending set is not empty, or `is_due`. Runs `meanwhile` about every
/// millisecond.
pub(crate) fn wait(is_due: impl Fn() -> bool, meanwhile: impl Fn()) {
    let here = current();
    meanwhile();
    let mut guard = WAKE.0.lock().unwrap_or_else(PoisonError::into_inner);
    while PENDING[here.index()].load(Ordering::SeqCst) == 0 && !is_due() {
        // Short, since the clock may be advanced.
        let waited = WAKE.1.wait_timeout(guard, Duration::from_millis(1));
        guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        meanwhile();
    }
}
