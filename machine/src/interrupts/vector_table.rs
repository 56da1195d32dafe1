//! The assignment of each CPU's vectors, and the set of vectors that have arrived.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Trigger;
use crate::addr::{CpuId, MAX_CPUS, PerCpu};
use crate::integers::low_u8;
use crate::speculation::MaskedIndex;

/// In a target: the line must be masked when its interrupt arrives.
const LEVEL: u32 = 1 << 31;
/// The interrupt number plus one, and [`LEVEL`]; zero while the vector is free.
static TARGETS: PerCpu<[AtomicU32; 256]> = PerCpu::new([const { [const { AtomicU32::new(0) }; 256] }; MAX_CPUS]);
/// Vectors that have arrived and have not been taken yet.
static ARRIVED: PerCpu<[AtomicU64; 4]> = PerCpu::new([const { [const { AtomicU64::new(0) }; 4] }; MAX_CPUS]);

#[expect(clippy::indexing_slicing, reason = "there is a target for each vector")]
fn target_of(cpu: CpuId, vector: u8) -> &'static AtomicU32 {
    &TARGETS[cpu][usize::from(vector)]
}

/// Assigns an interrupt to a vector. Returns `false` if the vector is assigned already, or the
/// number is too large.
pub(crate) fn claim(cpu: CpuId, vector: u8, interrupt: u32, trigger: Trigger) -> bool {
    let Some(number) = interrupt.checked_add(1) else { return false };
    let target = number & !LEVEL | if trigger == Trigger::Level { LEVEL } else { 0 };
    let entry = target_of(cpu, vector);
    entry.compare_exchange(0, target, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// Frees a vector.
pub(crate) fn release(cpu: CpuId, vector: u8) {
    target_of(cpu, vector).store(0, Ordering::SeqCst);
}

/// Records that a device's vector has arrived on a CPU, before it is acknowledged there. Returns
/// `false` if the vector is free.
pub(crate) fn arrived(cpu: CpuId, vector: u8) -> bool {
    let target = target_of(cpu, vector).load(Ordering::SeqCst);
    if target == 0 {
        return false;
    }
    if target & LEVEL != 0 {
        super::set_masked((target & !LEVEL) - 1, true);
    }
    if let Some(word) = ARRIVED[cpu].masked(usize::from(vector / 64)) {
        word.fetch_or(1 << (vector % 64), Ordering::SeqCst);
    }
    true
}

/// Takes an interrupt that has arrived on `cpu` and returns its number.
pub(crate) fn take(cpu: CpuId) -> Option<u32> {
    for (word, first) in ARRIVED[cpu].iter().zip((0..=u8::MAX).step_by(64)) {
        let mut arrived = word.load(Ordering::SeqCst);
        while arrived != 0 {
            let bit = low_u8(arrived.trailing_zeros().into());
            arrived = word.fetch_and(!(1 << bit), Ordering::SeqCst) & !(1 << bit);
            let target = target_of(cpu, first + bit).load(Ordering::SeqCst) & !LEVEL;
            if let Some(interrupt) = target.checked_sub(1) {
                return Some(interrupt);
            }
        }
    }
    None
}
