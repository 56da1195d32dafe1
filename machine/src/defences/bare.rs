#![expect(unsafe_code, reason = "writes MSRs that have no effect on memory")]
//! Reading the facts on the machine, and setting MSRs.

use super::facts::{Facts, Vendor};
use super::{HistoryControl, Report, Write};
use crate::integers::low_u32;
use crate::per_cpu;
use crate::processor::{msr, registers};

/// Selective barrier, in PRED_CMD.
const SBPB: u64 = 1 << 7;

/// The facts about this CPU. The interrupt table must be loaded, since reading an MSR that does not
/// exist faults.
pub(super) fn facts() -> Facts {
    if Vendor::of(registers::cpuid(0, 0)) == Vendor::Intel {
        // The processor stores the revision when CPUID is executed after a write of zero (Intel SDM
        // volume 3, 10.11.7.1).
        // SAFETY: the register holds a revision only.
        let _ = unsafe { registers::try_write_msr(msr::MICROCODE_REVISION, 0) };
        registers::cpuid(1, 0);
    }
    let mut facts = Facts::read(&registers::cpuid, &registers::try_read_msr);
    // Families before 0x19 have no such barrier, and later ones report what they have.
    if facts.is_amd() && facts.family == 0x19 && !facts.is_virtual() {
        // SAFETY: discards predictions only.
        facts.selective_barrier = unsafe { registers::try_write_msr(msr::PRED_CMD, SBPB) };
    }
    facts
}

/// Tells the entry code of this CPU what was decided.
pub(super) fn prepare_entry(report: &Report) {
    let spec_ctrl = if report.guest_spec_ctrl().at_entry { low_u32(report.plan.spec_ctrl()) } else { 0 };
    per_cpu::set_entry_defences(spec_ctrl, matches!(report.plan.history, HistoryControl::Cleared(..)));
}

/// Makes a change of an MSR on this CPU. Returns `false` if the processor does not accept it.
pub(super) fn make(change: &Write) -> bool {
    // SAFETY: a `Write` changes bits that have no effect on the meaning of memory.
    change.make(registers::try_read_msr, |number, value| unsafe { registers::try_write_msr(number, value) })
}
