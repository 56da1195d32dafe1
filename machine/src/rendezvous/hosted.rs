//! Nothing interrupts a thread: it checks for a rendezvous wherever it serves flush requests.

use crate::addr::CpuId;

/// The time in which all CPUs have to be present, in nanoseconds. A thread may have to wait for a
/// processor.
pub(super) const PATIENCE: u64 = 2_000_000_000;

/// Interrupts another CPU.
pub(super) const fn interrupt(_: CpuId) {}

/// One turn of a loop that waits.
pub(super) fn relax() {
    std::thread::yield_now();
}
