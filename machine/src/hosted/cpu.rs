//! Threads as CPUs: a thread becomes a CPU when it first asks which one it is, and its number is free again when it ends.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::time;
use crate::addr::{CpuId, MAX_CPUS};
use crate::cpu::{Features, Pending};

static TAKEN: AtomicU64 = AtomicU64::new(0);
static ONLINE: AtomicUsize = AtomicUsize::new(1);
static PENDING: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
static WAKE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

struct Number(CpuId);

impl Number {
    fn take() -> Self {
        let before = TAKEN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| Some(taken | (taken + 1)));
        let number = before.unwrap_or(u64::MAX).trailing_ones();
        let cpu = CpuId::new(number).expect("no more threads at a time than there can be CPUs");
        ONLINE.fetch_max(cpu.index() + 1, Ordering::SeqCst);
        PENDING[cpu.index()].store(0, Ordering::SeqCst);
        time::forget_deadline(cpu);
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

/// The CPU that asks.
pub fn current() -> CpuId {
    // a destructor of another thread-local value may run after the number's
    NUMBER.try_with(|number| number.0).unwrap_or(CpuId::BOOT)
}

/// How many CPUs have ever been running.
pub fn online() -> usize {
    ONLINE.load(Ordering::SeqCst)
}

/// How many CPUs there are to be: threads come and go.
pub fn present() -> usize {
    online()
}

/// There is nothing to be written back.
pub(crate) const fn write_back_caches() {}

/// The number of a CPU's local APIC.
pub const fn apic_id(cpu: CpuId) -> u32 {
    cpu.index() as u32
}

/// The number that ACPI has for a CPU.
pub const fn acpi_id(cpu: CpuId) -> Option<u32> {
    Some(cpu.index() as u32)
}

/// What the simulated processors can do.
pub fn features() -> &'static Features {
    static FEATURES: Features = Features {
        no_execute: true,
        gib_pages: true,
        global_pages: true,
        machine_check: true,
        sysenter: true,
        x2apic: true,
        tsc_deadline: true,
        invariant_tsc: true,
        pcid: false,
        invpcid: false,
        fsgsbase: true,
        smep: true,
        smap: true,
        umip: true,
        xsaveopt: false,
        physical_bits: 40,
        xcr0: 7,
        xsave_size: 832,
    };
    &FEATURES
}

/// Starts one thread as a second CPU, which runs `main`.
pub fn start_others(main: fn() -> !) {
    let (online, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        current();
        let _ = online.send(());
        main()
    });
    let _ = wait.recv();
}

/// Waits until something is pending.
pub fn idle() {
    let here = current();
    super::tlb::serve_request();
    let mut guard = WAKE.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    while PENDING[here.index()].load(Ordering::SeqCst) == 0 && !time::is_due(here) {
        // short, since the deadline may move with the clock
        let waited = WAKE.1.wait_timeout(guard, Duration::from_millis(1));
        guard = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        super::tlb::serve_request();
    }
}

/// Takes what has come in; here only requests to flush.
pub fn interrupt_window() {
    super::tlb::serve_request();
}

/// Makes something pending on a CPU.
pub(super) fn record(cpu: CpuId, event: Pending) {
    let _guard = WAKE.0.lock();
    PENDING[cpu.index()].fetch_or(event.bits(), Ordering::SeqCst);
    WAKE.1.notify_all();
}

/// Makes `Pending::KICK` pending on a CPU.
pub fn kick(cpu: CpuId) {
    record(cpu, Pending::KICK);
}

/// What has come in on this CPU since the last call.
pub fn take_pending() -> Pending {
    let here = current();
    let mut pending = Pending::from_bits_retain(PENDING[here.index()].swap(0, Ordering::SeqCst));
    if time::is_due(here) {
        time::forget_deadline(here);
        pending |= Pending::TIMER;
    }
    pending
}

/// Whose vCPU this CPU runs: there is no message of a crash to say it in.
pub const fn note_running(_: Option<(u16, u32)>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own_and_wake_each_other() {
        let here = current();
        let (tell, told) = std::sync::mpsc::channel();
        let other = std::thread::spawn(move || {
            let _ = tell.send(current());
            idle();
            take_pending()
        });
        let there = told.recv().unwrap();
        assert_ne!(here, there);
        kick(there);
        assert!(other.join().unwrap().contains(Pending::KICK));
    }

    #[test]
    fn a_deadline_becomes_pending_once() {
        time::set_deadline(time::now() + 1_000_000);
        idle();
        assert!(take_pending().contains(Pending::TIMER));
        assert!(!take_pending().contains(Pending::TIMER));
    }
}
