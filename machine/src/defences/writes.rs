//! The measures that are bits of MSRs, written once on each CPU.
//!
//! These bits stay set while guests run. SPEC_CTRL is the exception: guests set bits of it
//! themselves, and with IBRS at each entry they run without IBRS and STIBP (`guest`).
//! `docs/defences.md` describes the effect of each bit on guests.

use super::bits::{capability, leaf_7_edx, mcu_opt_ctrl, spec_ctrl, tsx_ctrl, tsx_force_abort};
use super::errata::CORRECTIONS;
use super::facts::Facts;
use super::measures::{Measure, Measures};
use super::plan::{BranchControl, GatherControl, Plan, TsxControl};
use crate::processor::msr;

/// Automatic IBRS, in EFER.
const AUTOMATIC_IBRS: u64 = 1 << 21;

/// A change of an MSR on each CPU. Only [`writes`] makes one, of bits that have no effect on the
/// meaning of memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Write {
    /// What it does, for the log.
    pub(super) name: &'static str,
    pub(super) msr: u32,
    /// The bits that are set.
    pub(super) set: u64,
    /// The bits that are cleared.
    pub(super) clear: u64,
    /// The measures that need the change.
    pub(super) measures: Measures,
}

impl Write {
    /// Makes the change by functions that read and write an MSR, which fail if that faults. Returns
    /// `false` if the processor does not accept it.
    ///
    /// The register is read again, since hypervisors ignore writes to registers that they do not
    /// offer. It is not written if it already has the value.
    pub(super) fn make(&self, read: impl Fn(u32) -> Option<u64>, write: impl FnOnce(u32, u64) -> bool) -> bool {
        let changed = |value: u64| value & !self.clear | self.set;
        let Some(found) = read(self.msr) else { return false };
        let wanted = changed(found);
        wanted == found || write(self.msr, wanted) && read(self.msr).is_some_and(|value| changed(value) == value)
    }
}

/// The changes that a plan makes on each CPU of a processor with these facts, in order.
pub fn writes(plan: &Plan, facts: &Facts) -> impl Iterator<Item = Write> + use<> {
    let others = [allow_tsx(plan, facts), tsx(plan, facts), gather(plan), random(plan), automatic_ibrs(plan)];
    corrections(plan).chain(others.into_iter().flatten()).chain(speculation(plan, facts))
}

const fn one(name: &'static str, msr: u32, set: u64, clear: u64, measures: &[Measure]) -> Write {
    Write { name, msr, set, clear, measures: Measures::of(measures) }
}

fn corrections(plan: &Plan) -> impl Iterator<Item = Write> + use<> {
    let needed = plan.corrections;
    let corrections = CORRECTIONS.iter().filter(move |correction| needed.contains(correction.flag));
    corrections.map(|correction| one(correction.name, correction.msr, correction.bits, 0, &[Measure::Corrections]))
}

/// Transactions always abort, by microcode that can be told otherwise.
const fn always_abort(facts: &Facts) -> bool {
    facts.leaf_7_edx(leaf_7_edx::RTM_ALWAYS_ABORT)
}

/// With the microcode of 2022 on client processors, TSX_CTRL cannot switch transactions on until
/// they are allowed here, which the firmware may have locked.
fn allow_tsx(plan: &Plan, facts: &Facts) -> Option<Write> {
    let locked = facts.mcu_opt_ctrl.is_none_or(|bits| bits & mcu_opt_ctrl::RTM_LOCKED != 0);
    (plan.tsx == TsxControl::On && facts.can(capability::TSX_CTRL) && always_abort(facts) && !locked)
        .then(|| one("TSX allowed", msr::MCU_OPT_CTRL, mcu_opt_ctrl::RTM_ALLOW, 0, &[]))
}

fn tsx(plan: &Plan, facts: &Facts) -> Option<Write> {
    use tsx_force_abort::{ENABLE_RTM, FORCE_ABORT};
    let by_control = facts.can(capability::TSX_CTRL);
    // The microcode that makes transactions abort ignores the bits that switch them off.
    let (register, (off_set, off_clear), (on_set, on_clear)) = match (by_control, always_abort(facts)) {
        (true, false) => (msr::TSX_CTRL, (tsx_ctrl::ALL, 0), (0, tsx_ctrl::ALL)),
        (true, true) => (msr::TSX_CTRL, (tsx_ctrl::CPUID_CLEAR, 0), (0, tsx_ctrl::ALL)),
        (false, false) => (msr::TSX_FORCE_ABORT, (FORCE_ABORT, ENABLE_RTM), (0, FORCE_ABORT)),
        (false, true) => {
            let hide = tsx_force_abort::CPUID_CLEAR;
            (msr::TSX_FORCE_ABORT, (hide, ENABLE_RTM), (ENABLE_RTM, hide))
        }
    };
    match plan.tsx {
        TsxControl::AsFound => None,
        TsxControl::On => Some(one("TSX on", register, on_set, on_clear, &[])),
        TsxControl::Off => Some(one("TSX off", register, off_set, off_clear, &[Measure::TsxOff])),
    }
}

fn gather(plan: &Plan) -> Option<Write> {
    let bit = mcu_opt_ctrl::GDS_MITG_DIS;
    match plan.gather {
        GatherControl::On => Some(one("GDS control", msr::MCU_OPT_CTRL, 0, bit, &[Measure::GatherControl])),
        GatherControl::Off => Some(one("GDS control off", msr::MCU_OPT_CTRL, bit, 0, &[])),
        GatherControl::AsFound | GatherControl::WithoutAvx => None,
    }
}

fn random(plan: &Plan) -> Option<Write> {
    let bit = mcu_opt_ctrl::RNGDS_MITG_DIS;
    plan.lock_random.map(|lock| match lock {
        true => one("locked random numbers", msr::MCU_OPT_CTRL, 0, bit, &[Measure::LockRandom]),
        false => one("random numbers not locked", msr::MCU_OPT_CTRL, bit, 0, &[]),
    })
}

/// Nothing is cleared: `processor::enable` writes EFER without the bit.
fn automatic_ibrs(plan: &Plan) -> Option<Write> {
    (plan.branches == BranchControl::Automatic)
        .then(|| one("automatic IBRS", msr::EFER, AUTOMATIC_IBRS, 0, &[Measure::Ibrs]))
}

/// SPEC_CTRL. The bits that the firmware has set and the plan does not want are cleared.
fn speculation(plan: &Plan, facts: &Facts) -> Option<Write> {
    let set = plan.spec_ctrl();
    let exists = facts.has_ibrs() || facts.has_stibp() || facts.has_ssbd() || facts.has_psfd();
    if set == 0 && !exists {
        return None;
    }
    let measures = [
        (Measure::Ibrs, spec_ctrl::IBRS),
        (Measure::Stibp, spec_ctrl::STIBP),
        (Measure::History, spec_ctrl::BHI_DIS_S),
    ];
    let mut needing = Measures::default();
    for (measure, bit) in measures {
        needing.add(measure, set & bit != 0);
    }
    Some(Write { measures: needing, ..one("SPEC_CTRL", msr::SPEC_CTRL, set, spec_ctrl::KNOWN & !set, &[]) })
}
