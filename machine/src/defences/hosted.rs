//! The facts about the simulated processor, and its MSRs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::facts::Facts;
use super::{Report, Write};
use crate::addr::CpuId;
use crate::per_cpu;

/// The MSRs that have been written, by CPU and number.
static MSRS: Mutex<BTreeMap<(CpuId, u32), u64>> = Mutex::new(BTreeMap::new());

/// Nothing is known about the simulated processor.
pub(super) const fn facts() -> Facts {
    Facts::NOTHING
}

/// An MSR of a CPU, zero at first.
pub(super) fn msr(cpu: CpuId, number: u32) -> u64 {
    MSRS.lock().unwrap_or_else(PoisonError::into_inner).get(&(cpu, number)).copied().unwrap_or(0)
}

/// Sets an MSR of this CPU.
pub(super) fn set_msr(number: u32, value: u64) {
    MSRS.lock().unwrap_or_else(PoisonError::into_inner).insert((per_cpu::current(), number), value);
}

/// There is no entry code.
pub(super) const fn prepare_entry(_: &Report) {}

/// Makes a change of an MSR on this CPU.
pub(super) fn make(change: &Write) -> bool {
    let cpu = per_cpu::current();
    change.make(
        |number| Some(msr(cpu, number)),
        |number, value| {
            set_msr(number, value);
            true
        },
    )
}
