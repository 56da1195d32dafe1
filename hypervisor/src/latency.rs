//! Latency meter. It records, per pCPU, the longest stretch without an interrupt window and the
//! longest time that a runnable vCPU waited for the pCPU, each with its cause.
//!
//! A stretch begins when the pCPU leaves a guest, wakes up, or closes an interrupt window. It ends
//! when the pCPU enters a guest, halts, or opens an interrupt window. The exits that the vCPU loop
//! handles on its fast path are not measured: the work of each is bounded and far below what this
//! meter has to detect.
//!
//! Each pCPU writes only its own record.

use alloc::format;
use alloc::string::String;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use machine::addr::{CpuId, MAX_CPUS, PerCpu};
use machine::integers::low_u8;
use machine::speculation::MaskedIndex;
use machine::{cpu, time};

use crate::domain::{Domain, Vcpu};

/// The event that began a stretch. A variant with a number stores it in the low byte of its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Start-up, or an interrupt that ended a halt.
    Wake,
    /// An interrupt window.
    Window,
    /// An interrupt while a guest ran.
    Interrupt,
    /// A hypercall.
    Hypercall(u64),
    /// An exception, by vector.
    Trap(u8),
    /// A system call.
    SystemCall,
}

/// Work that a pCPU did in a stretch besides handling its cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Phase {
    /// Tore down page tables.
    Teardown = 1 << 16,
    /// Destroyed a domain.
    Destruction = 1 << 17,
    /// Switched vCPUs, or selected the next one.
    Switch = 1 << 18,
    /// Served timers, device interrupts, the console.
    Service = 1 << 19,
}

const PHASES: [(Phase, &str); 4] = [
    (Phase::Teardown, "teardown"),
    (Phase::Destruction, "destruction"),
    (Phase::Switch, "switch"),
    (Phase::Service, "service"),
];

/// Upper bound of hypercall numbers.
pub(crate) const HYPERCALLS: u32 = 64;
const KINDS: u32 = 0xff00;

impl Cause {
    #[inline]
    const fn code(self) -> u32 {
        match self {
            Self::Wake => 0,
            Self::Window => 0x100,
            Self::Interrupt => 0x200,
            // A number beyond the table is masked and may alias one inside it. Such a call only
            // fails.
            Self::Hypercall(number) => 0x300 | low_u8(number) as u32 & (HYPERCALLS - 1),
            Self::Trap(vector) => 0x400 | vector as u32,
            Self::SystemCall => 0x500,
        }
    }
}

fn describe(code: u32) -> String {
    let number = code & 0xff;
    let mut text = match code & KINDS {
        0 => String::from("wake-up"),
        0x100 => String::from("window"),
        0x200 => String::from("interrupt"),
        0x300 => String::from(hypercall_name(number).unwrap_or("unknown hypercall")),
        0x400 => format!("exception {number}"),
        _ => String::from("system call"),
    };
    for (phase, name) in PHASES {
        if code & phase as u32 != 0 {
            text.push('+');
            text.push_str(name);
        }
    }
    text
}

/// The name of a hypercall in the public headers, without its prefix.
pub(crate) fn hypercall_name(number: u32) -> Option<&'static str> {
    let (name, _) = abi::xen::hypercall::NAMES.iter().find(|(_, other)| *other == number)?;
    name.strip_prefix("__HYPERVISOR_")
}

/// Shorter stretches, in ticks, are not recorded.
const NOTABLE: u64 = 10_000;

/// The meter's record of one pCPU.
#[repr(align(64))]
pub(crate) struct Record {
    /// Start of the current stretch, in ticks of the time-stamp counter.
    start: AtomicU64,
    /// Cause and phases of the current stretch.
    code: AtomicU32,
    longest: AtomicU64,
    longest_code: AtomicU32,
    /// Earlier waiting time is not counted. Set when the pCPU begins to run vCPUs, and on reset.
    since: AtomicU64,
    /// The vCPU that ran last: domain id and vCPU id.
    last: AtomicU32,
    longest_wait: AtomicU64,
    /// The vCPU with the longest wait, and the vCPU that ran before it.
    waiter: AtomicU32,
    before: AtomicU32,
}

static RECORDS: PerCpu<Record> = PerCpu::new(
    [const {
        Record {
            start: AtomicU64::new(0),
            code: AtomicU32::new(0),
            longest: AtomicU64::new(0),
            longest_code: AtomicU32::new(0),
            since: AtomicU64::new(0),
            last: AtomicU32::new(0),
            longest_wait: AtomicU64::new(0),
            waiter: AtomicU32::new(0),
            before: AtomicU32::new(0),
        }
    }; MAX_CPUS],
);

/// The longest stretch that each hypercall began, in ticks, over all pCPUs.
static HYPERCALL_MAXIMA: [AtomicU64; HYPERCALLS as usize] = [const { AtomicU64::new(0) }; HYPERCALLS as usize];

/// The record of this pCPU.
#[inline]
pub(crate) fn own() -> &'static Record {
    &RECORDS[cpu::current()]
}

impl Record {
    /// Begins a stretch.
    #[inline]
    pub(crate) fn begin(&self, cause: Cause) {
        self.code.store(cause.code(), Ordering::Relaxed);
        self.start.store(time::ticks(), Ordering::Relaxed);
    }

    /// Ends the stretch.
    #[inline]
    pub(crate) fn end(&self) {
        let ticks = time::ticks().wrapping_sub(self.start.load(Ordering::Relaxed));
        if ticks > NOTABLE {
            self.keep(ticks);
        }
    }

    #[inline(never)]
    fn keep(&self, ticks: u64) {
        let code = self.code.load(Ordering::Relaxed);
        if ticks > self.longest.load(Ordering::Relaxed) {
            self.longest.store(ticks, Ordering::Relaxed);
            self.longest_code.store(code, Ordering::Relaxed);
        }
        if code & KINDS == 0x300
            && let Some(longest) = HYPERCALL_MAXIMA.masked((code & 0xff) as usize)
        {
            longest.fetch_max(ticks, Ordering::Relaxed);
        }
    }
}

/// Begins a stretch on this pCPU.
pub(crate) fn begin(cause: Cause) {
    own().begin(cause);
}

/// Adds a phase to this pCPU's stretch.
#[inline]
pub(crate) fn note(phase: Phase) {
    let own = own();
    own.code.store(own.code.load(Ordering::Relaxed) | phase as u32, Ordering::Relaxed);
}

/// Ends this pCPU's stretch.
pub(crate) fn end() {
    own().end();
}

/// Opens an interrupt window. The caller must not hold a lock.
pub(crate) fn window() {
    end();
    cpu::interrupt_window();
    begin(Cause::Window);
}

/// Starts the measurements when this pCPU begins to run vCPUs.
pub(crate) fn start(now: u64) {
    begin(Cause::Wake);
    own().since.store(now, Ordering::Relaxed);
}

/// Records that this pCPU switches to `vcpu` at `now`; the vCPU has been runnable since `ready`.
pub(crate) fn note_wait(domain: &Domain, vcpu: &Vcpu, ready: u64, now: u64) {
    let own = own();
    let waited = now.saturating_sub(ready.max(own.since.load(Ordering::Relaxed)));
    let identity = u32::from(domain.id().0) << 16 | vcpu.id().get();
    if waited > own.longest_wait.load(Ordering::Relaxed) {
        own.longest_wait.store(waited, Ordering::Relaxed);
        own.waiter.store(identity, Ordering::Relaxed);
        own.before.store(own.last.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    own.last.store(identity, Ordering::Relaxed);
}

/// The longest stretch of a pCPU without an interrupt window, in nanoseconds.
pub(crate) fn longest_stretch(cpu: CpuId) -> u64 {
    time::scale().nanoseconds(RECORDS[cpu].longest.load(Ordering::Relaxed))
}

/// The longest time that a runnable vCPU waited for the pCPU, in nanoseconds.
pub(crate) fn longest_wait(cpu: CpuId) -> u64 {
    RECORDS[cpu].longest_wait.load(Ordering::Relaxed)
}

/// The longest stretch that a hypercall began, in nanoseconds.
pub(crate) fn longest_of_hypercall(number: u32) -> u64 {
    let ticks = HYPERCALL_MAXIMA.masked(number as usize).map_or(0, |longest| longest.load(Ordering::Relaxed));
    time::scale().nanoseconds(ticks)
}

/// The measurements, as two lines of text per pCPU.
pub(crate) fn report() -> impl Iterator<Item = String> {
    cpu::all_online().flat_map(|cpu| {
        let own = &RECORDS[cpu];
        let code = describe(own.longest_code.load(Ordering::Relaxed));
        let [waiter, before] = [&own.waiter, &own.before].map(|word| word.load(Ordering::Relaxed));
        let name = |identity: u32| format!("d{}v{}", identity >> 16, identity & 0xffff);
        [
            format!("pCPU {}: longest stretch without interrupts {} ns ({code})", cpu.index(), longest_stretch(cpu)),
            format!(
                "pCPU {}: longest wait of a runnable vCPU {} ns ({} after {})",
                cpu.index(),
                longest_wait(cpu),
                name(waiter),
                name(before)
            ),
        ]
    })
}

/// Resets all measurements.
pub(crate) fn reset() {
    let now = time::now();
    for record in RECORDS.iter() {
        record.since.store(now, Ordering::Relaxed);
        record.longest.store(0, Ordering::Relaxed);
        record.longest_wait.store(0, Ordering::Relaxed);
    }
    HYPERCALL_MAXIMA.iter().for_each(|longest| longest.store(0, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stretch_is_kept_with_its_cause() {
        machine::hosted::start(64);
        begin(Cause::Hypercall(12));
        note(Phase::Teardown);
        std::thread::sleep(std::time::Duration::from_millis(20));
        end();
        begin(Cause::Interrupt);
        end();
        let here = cpu::current();
        assert!(longest_stretch(here) >= 10_000_000);
        assert!(longest_of_hypercall(12) >= 10_000_000 && longest_of_hypercall(13) == 0);
        let line = report().find(|line| line.starts_with(&format!("pCPU {}:", here.index())));
        assert!(line.as_ref().is_some_and(|line| line.ends_with("(memory_op+teardown)")), "{line:?}");
        reset();
        assert_eq!(longest_stretch(here), 0);
    }

    #[test]
    fn causes_are_described() {
        assert_eq!(describe(Cause::Hypercall(63).code()), "unknown hypercall");
        assert_eq!(describe(Cause::Trap(14).code() | Phase::Switch as u32), "exception 14+switch");
    }
}
