//! What each vector of each CPU stands for, and which vectors have come in.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::Trigger;
use crate::addr::{CpuId, MAX_CPUS};

/// In a target: the line has to be masked when its interrupt comes in.
const LEVEL: u32 = 1 << 31;
/// The interrupt number plus one, and [`LEVEL`]; zero while the vector is free.
static TARGETS: [[AtomicU32; 256]; MAX_CPUS] = [const { [const { AtomicU32::new(0) }; 256] }; MAX_CPUS];
/// Vectors that have come in and have not been taken yet.
static ARRIVED: [[AtomicU64; 4]; MAX_CPUS] = [const { [const { AtomicU64::new(0) }; 4] }; MAX_CPUS];

/// Makes a vector stand for an interrupt. `false` if it stands for one already, or the number is
/// too large.
pub(crate) fn claim(cpu: CpuId, vector: u8, interrupt: u32, trigger: Trigger) -> bool {
    let Some(number) = interrupt.checked_add(1) else { return false };
    let target = number & !LEVEL | if trigger == Trigger::Level { LEVEL } else { 0 };
    let entry = &TARGETS[cpu.index()][usize::from(vector)];
    entry.compare_exchange(0, target, Ordering::SeqCst, Ordering::SeqCst).is_ok()
}

/// Frees a vector.
pub(crate) fn release(cpu: CpuId, vector: u8) {
    TARGETS[cpu.index()][usize::from(vector)].store(0, Ordering::SeqCst);
}

/// Records that a device's vector has come in on a CPU, before it is acknowledged there. Returns
/// `false` if the vector is free.
pub(crate) fn arrived(cpu: CpuId, vector: u8) -> bool {
    let target = TARGETS[cpu.index()][usize::from(vector)].load(Ordering::SeqCst);
    if target == 0 {
        return false;
    }
    if target & LEVEL != 0 {
        super::set_masked((target & !LEVEL) - 1, true);
    }
    ARRIVED[cpu.index()][usize::from(vector / 64)].fetch_or(1 << (vector % 64), Ordering::SeqCst);
    true
}

/// Takes an interrupt that has come in on `cpu` and returns its number.
pub(crate) fn take(cpu: CpuId) -> Option<u32> {
    for (index, word) in ARRIVED[cpu.index()].iter().enumerate() {
        let mut arrived = word.load(Ordering::SeqCst);
        while arrived != 0 {
            let bit = arrived.trailing_zeros();
            arrived = word.fetch_and(!(1 << bit), Ordering::SeqCst) & !(1 << bit);
            let target = TARGETS[cpu.index()][index * 64 + bit as usize].load(Ordering::SeqCst) & !LEVEL;
            if let Some(interrupt) = target.checked_sub(1) {
                return Some(interrupt);
            }
        }
    }
    None
}
