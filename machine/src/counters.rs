//! Performance counters of each pCPU. They start at zero when the pCPU starts, and are read only on
//! request: by a debug key, by `sysctl` and by the benchmark.
//!
//! To count an event, a pCPU loads, increments and stores a word that only it writes. A reset does
//! not write to these words. It stores their values as a base, which readers subtract. The entry
//! code increments counters in the active context. They are added to the pCPU's counters at the
//! next interrupt, and when the context leaves the pCPU.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::{CpuId, MAX_CPUS, PerCpu};

macro_rules! counters {
    ($($(#[$doc:meta])* $counter:ident $name:literal;)*) => {
        /// What is counted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter {
            $($(#[$doc])* $counter,)*
        }

        impl Counter {
            /// All counters.
            pub const ALL: &[Self] = &[$(Self::$counter),*];

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$counter => $name,)*
                }
            }
        }
    };
}

counters! {
    /// System calls of processes that the entry code bounced to the guest kernel.
    FastSystemCalls "fast-path system calls";
    /// System calls of processes bounced by Rust.
    SystemCalls "system calls in rust";
    /// Returns to user mode by the entry code.
    FastReturns "fast-path irets to process";
    /// Returns within kernel mode by the entry code.
    FastKernelReturns "fast-path irets to kernel";
    /// Page faults of processes that the entry code bounced to the guest kernel.
    FastFaults "fast-path faults of process";
    /// Page faults of guest kernels bounced by the entry code.
    FastKernelFaults "fast-path faults of kernel";
    /// `MMUEXT_INVLPG_LOCAL` hypercalls completed by the entry code.
    FastPageFlushes "fast-path invlpg hypercalls";
    /// `stack_switch` hypercalls completed by the entry code.
    FastStackSwitches "fast-path stack_switch hypercalls";
    /// `set_segment_base` hypercalls for the GS base of processes, completed by the entry code.
    FastSegmentBases "fast-path set_segment_base hypercalls";
    /// Hypercalls that reached Rust; a multicall counts once.
    Hypercalls "hypercalls in rust";
    /// Exceptions that reached Rust.
    Traps "traps";
    /// Interrupts of the pCPU while a guest ran.
    Interrupts "interrupts";
    /// Root tables loaded with a flush of all translations.
    FlushingRootLoads "root loads with flush";
    /// Root tables loaded without a flush.
    KeepingRootLoads "root loads without flush";
    /// Switches between full and restricted roots. Each is also counted in `FlushingRootLoads`.
    RootSwitches "root switches of restricted roots";
    /// VERW before returns to guests.
    BufferClears "verw";
    /// Return stack buffers overwritten.
    ReturnStacks "return stacks overwritten";
    /// VERW before a pCPU halted.
    IdleBufferClears "verw before idle";
    /// Return stack buffers overwritten before a pCPU halted.
    IdleReturnStacks "return stacks overwritten before idle";
    /// Branch predictions discarded (IBPB).
    PredictionBarriers "ibpb";
    /// Branch history cleared at exits to Rust code (BHI).
    HistoryClears "branch histories cleared";
    /// Writes of SPEC_CTRL for guests. Each is also counted in `MsrWrites`.
    SpecCtrlWrites "spec_ctrl";
    /// Other flushes of all translations.
    Flushes "flushes";
    /// Flushes of single pages.
    PageFlushes "invlpg";
    /// Caches written back and invalidated.
    CacheFlushes "wbinvd";
    /// Writes of model-specific registers.
    MsrWrites "wrmsr";
    /// Interrupts sent to other pCPUs.
    Ipis "ipis";
    /// Flush requests to other CPUs because a frame changed its kind or owner.
    FlushesOfOthers "flushes requested from other pCPUs";
    /// Page-table writes and privileged instructions that were emulated.
    Emulations "emulated instructions";
    /// Page-table entries changed.
    EntryUpdates "entry updates";
    /// Frames that changed their kind.
    Promotions "frames promoted";
    /// Page faults of domains with a log of dirty pages that were compared with their tables.
    MirrorFaults "mirror faults";
    /// Mirror tables made.
    MirrorsFilled "mirror tables filled";
    /// Times that all mirror tables of a domain were discarded.
    MirrorsDiscarded "mirror tables discarded";
    /// Microseconds in which the pCPU was idle although vCPUs waited, because a sibling thread ran
    /// another domain.
    ForcedIdle "microseconds of forced idle";
    /// vCPUs activated on a pCPU.
    Activations "activations";
}

#[repr(align(64))]
struct Row([AtomicU64; Counter::ALL.len()]);

type Rows = PerCpu<Row>;

static COUNTS: Rows = PerCpu::new([const { Row([const { AtomicU64::new(0) }; Counter::ALL.len()]) }; MAX_CPUS]);
/// The counts at the last reset.
static STARTS: Rows = PerCpu::new([const { Row([const { AtomicU64::new(0) }; Counter::ALL.len()]) }; MAX_CPUS]);

#[inline]
#[expect(clippy::indexing_slicing, reason = "there is a word for each counter")]
fn word(rows: &Rows, cpu: CpuId, counter: Counter) -> &AtomicU64 {
    &rows[cpu].0[counter as usize]
}

/// Adds one.
#[inline]
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Adds `number`.
#[inline]
pub fn add(counter: Counter, number: u64) {
    let word = word(&COUNTS, crate::per_cpu::current(), counter);
    // Only this pCPU writes its words, and no interrupt can occur in between.
    word.store(word.load(Ordering::Relaxed).wrapping_add(number), Ordering::Relaxed);
}

/// A pCPU's count.
pub fn of(cpu: CpuId, counter: Counter) -> u64 {
    let [count, start] = [&COUNTS, &STARTS].map(|rows| word(rows, cpu, counter).load(Ordering::Relaxed));
    count.wrapping_sub(start)
}

/// The sum over all pCPUs.
pub fn sum(counter: Counter) -> u64 {
    (0..).map_while(CpuId::new).map(|cpu| of(cpu, counter)).fold(0, u64::wrapping_add)
}

/// Resets all counters.
pub fn reset() {
    for cpu in (0..).map_while(CpuId::new) {
        for &counter in Counter::ALL {
            let count = word(&COUNTS, cpu, counter).load(Ordering::Relaxed);
            word(&STARTS, cpu, counter).store(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_threads_add_up() {
        let before = sum(Counter::Ipis);
        let threads = [(); 4].map(|()| std::thread::spawn(|| (0..100).for_each(|_| count(Counter::Ipis))));
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(sum(Counter::Ipis) - before, 400);
    }

    #[test]
    fn a_reset_counts_from_zero_again() {
        add(Counter::Flushes, 7);
        assert_eq!(sum(Counter::Flushes), 7);
        reset();
        assert_eq!(sum(Counter::Flushes), 0);
        count(Counter::Flushes);
        assert_eq!((sum(Counter::Flushes), of(crate::per_cpu::current(), Counter::Flushes)), (1, 1));
    }

    #[test]
    fn names_differ() {
        let mut names: std::vec::Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Counter::ALL.len());
    }
}
