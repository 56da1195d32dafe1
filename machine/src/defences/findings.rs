//! The findings: for each flaw, whether the processor has it, which measures are in force, and
//! which weaknesses remain.

use core::fmt;

use super::bits::{capability, leaf_7_edx};
use super::errata::Corrections;
use super::facts::Facts;
use super::flaws::{Flaw, Status, Verdict};
use super::measures::{Measure, Measures};
use super::plan::{self, BranchControl, HistoryControl, Plan, TsxControl};
use crate::boot::options::{Choices, Thunk};

/// What remains of a flaw in spite of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// The measure needs newer microcode.
    Microcode,
    /// The hypervisor below does not offer the measure.
    Hidden,
    /// The firmware locked the mitigation in its state.
    Locked,
    /// An option switched the measure off.
    Option,
    /// Another thread of the core is not kept from it.
    Smt,
    /// The measure does not cover the initial domain, which is trusted.
    Dom0,
    /// The processor does not accept the bits of an MSR that are the measure.
    Refused,
}

impl Left {
    /// Everything that can remain.
    pub const ALL: [Self; 7] =
        [Self::Microcode, Self::Hidden, Self::Locked, Self::Option, Self::Smt, Self::Dom0, Self::Refused];

    /// The name for scripts.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Microcode => "old-microcode",
            Self::Hidden => "hidden-by-hypervisor",
            Self::Locked => "locked-by-firmware",
            Self::Option => "off-by-option",
            Self::Smt => "smt-on",
            Self::Dom0 => "not-dom0",
            Self::Refused => "msr-not-accepted",
        }
    }

    /// The words in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Microcode => "microcode too old",
            Self::Hidden => "hidden by the hypervisor",
            Self::Locked => "locked by firmware",
            Self::Option => "off by option",
            Self::Smt => "SMT on",
            Self::Dom0 => "dom0 not covered",
            Self::Refused => "MSR not accepted",
        }
    }
}

/// How things stand with a flaw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The processor does not have it.
    NotAffected,
    /// Every measure of the plan is in force, and nothing is left.
    Defended,
    /// Some measures are in force, or something is left.
    Partly,
    /// No measure is in force.
    Vulnerable,
}

impl State {
    /// The name, in the log and for scripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAffected => "not affected",
            Self::Defended => "defended",
            Self::Partly => "partly defended",
            Self::Vulnerable => "vulnerable",
        }
    }
}

/// What is known about one flaw.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// The flaw.
    pub flaw: Flaw,
    /// Whether the processor has it.
    pub verdict: Verdict,
    /// The measures of the plan against it.
    pub measures: Measures,
    /// A reason why no measure is needed.
    pub note: Option<&'static str>,
    /// Those that the processor accepts.
    pub in_force: Measures,
    left: u8,
}

const ONLY_DOM0_HAS_DEVICES: &str = "only dom0 has device memory";
const LOCKED_ON: &str = "firmware locked the mitigation on";
const NOT_READABLE: &str = "no flaw reads them";

/// The findings on a processor with these facts, for the plan that follows from the options.
pub fn findings(facts: &Facts, choices: &Choices, plan: &Plan) -> [Finding; Flaw::ALL.len()] {
    let default = plan::plan(facts, &Choices::DEFAULT);
    Flaw::ALL.map(|flaw| finding(flaw, facts, choices, plan, &default))
}

fn finding(flaw: Flaw, facts: &Facts, choices: &Choices, plan: &Plan, default: &Plan) -> Finding {
    let verdict = facts.verdict(flaw);
    let nothing = Measures::default();
    let mut found = Finding { flaw, verdict, measures: nothing, note: None, in_force: nothing, left: 0 };
    if verdict.status == Status::NotAffected {
        return found;
    }
    found.measures = measures(flaw, facts, plan);
    let by_default = measures(flaw, facts, default);
    let locked = facts.gather_lock();
    found.note = match flaw {
        Flaw::Gds if locked == Some(true) => Some(LOCKED_ON),
        Flaw::MmioStaleData if !choices.spec_ctrl.unpriv_mmio => Some(ONLY_DOM0_HAS_DEVICES),
        Flaw::Srbds if default.lock_random == Some(false) && !choices.spec_ctrl.unpriv_mmio => Some(NOT_READABLE),
        _ => None,
    };
    if found.note.is_some() {
        found.measures = nothing;
        return found;
    }
    found.in_force = found.measures;
    let no_option = by_default.iter().all(|measure| found.measures.contains(measure));
    found.leave(Left::Option, !no_option);
    let lacks = lacks_control(flaw, facts);
    found.leave(if facts.is_virtual() { Left::Hidden } else { Left::Microcode }, lacks);
    found.leave(Left::Locked, flaw == Flaw::Gds && locked == Some(false));
    found.leave(Left::Smt, facts.threads_per_core > 1 && !plan.smt_off && crosses_threads(flaw, plan));
    let dom0 = match flaw {
        Flaw::Meltdown => plan.split_roots.domu && !plan.split_roots.dom0,
        Flaw::L1tf => plan.refuse_entries.domu && !plan.refuse_entries.dom0,
        Flaw::BranchTypeConfusion | Flaw::Srso => plan.barrier_at_entry.domu && !plan.barrier_at_entry.dom0,
        Flaw::Bhi => matches!(plan.history, HistoryControl::Cleared(_, domains) if !domains.dom0),
        _ => false,
    };
    found.leave(Left::Dom0, dom0);
    found
}

/// The measures of a plan that answer a flaw.
fn measures(flaw: Flaw, facts: &Facts, plan: &Plan) -> Measures {
    let candidates: &[Measure] = match flaw {
        // Not a choice: the masks are part of the code.
        Flaw::SpectreV1 => return Measures::of(&[Measure::MaskIndices]),
        Flaw::Meltdown => &[Measure::SplitRoots],
        Flaw::L1tf => &[Measure::RefuseEntries],
        Flaw::SpectreV2 => &[
            Measure::Ibrs,
            Measure::Thunks,
            Measure::FillReturnStack,
            Measure::BarrierAtSwitch,
            Measure::BarrierAtEntry,
            Measure::Stibp,
        ],
        Flaw::Bhi => &[Measure::History],
        Flaw::RsbUnderflow => &[Measure::Ibrs],
        Flaw::BranchTypeConfusion => &[Measure::BarrierAtEntry, Measure::Stibp],
        Flaw::Srso => &[Measure::BarrierAtEntry],
        Flaw::CrossThreadReturns => &[Measure::FillReturnStack, Measure::FillReturnStackIdle, Measure::SmtOff],
        Flaw::Ssb if facts.has_ssbd() => &[Measure::GuestControls],
        Flaw::Mds | Flaw::Tsa => &[Measure::Verw, Measure::SmtOff],
        Flaw::Taa if facts.may_have(Flaw::Mds) => &[Measure::Verw, Measure::TsxOff, Measure::SmtOff],
        Flaw::Taa if plan.tsx == TsxControl::Off => &[Measure::TsxOff],
        Flaw::Taa | Flaw::Rfds | Flaw::MmioStaleData => &[Measure::Verw],
        Flaw::Srbds => &[Measure::LockRandom],
        Flaw::Gds => &[Measure::GatherControl, Measure::WithoutAvx],
        Flaw::Its => &[Measure::AlignBranches],
        Flaw::Zenbleed if plan.corrections.contains(Corrections::ZENBLEED) => &[Measure::Corrections],
        Flaw::DivLeak => &[Measure::DivScrub, Measure::SmtOff],
        Flaw::Ssb | Flaw::Zenbleed | Flaw::Vmscape => &[],
    };
    Measures::of(candidates).and(plan.measures())
}

/// The processor does not offer the control that the measure needs.
fn lacks_control(flaw: Flaw, facts: &Facts) -> bool {
    match flaw {
        Flaw::SpectreV2 | Flaw::BranchTypeConfusion => !facts.has_ibpb(),
        Flaw::RsbUnderflow => !facts.has_ibrs(),
        Flaw::Srso => !plan::barrier_covers_types(facts),
        Flaw::Ssb => !facts.has_ssbd(),
        Flaw::Mds | Flaw::Tsa => !plan::verw_clears(facts),
        Flaw::MmioStaleData => !facts.can(capability::FB_CLEAR),
        Flaw::Taa if facts.may_have(Flaw::Mds) => !plan::verw_clears(facts),
        Flaw::Taa => !facts.can(capability::TSX_CTRL),
        Flaw::Rfds => !facts.can(capability::RFDS_CLEAR) || !plan::verw_clears(facts),
        Flaw::Srbds => !facts.leaf_7_edx(leaf_7_edx::SRBDS_CTRL),
        Flaw::Gds => !facts.can(capability::GDS_CTRL) || facts.mcu_opt_ctrl.is_none(),
        Flaw::Zenbleed => facts.is_virtual(),
        _ => false,
    }
}

/// The measures of the plan against a flaw do not reach another thread of the core.
const fn crosses_threads(flaw: Flaw, plan: &Plan) -> bool {
    match flaw {
        Flaw::Mds | Flaw::Tsa | Flaw::DivLeak => true,
        Flaw::Taa => !matches!(plan.tsx, TsxControl::Off),
        Flaw::BranchTypeConfusion => !plan.stibp,
        _ => false,
    }
}

impl Finding {
    const fn leave(&mut self, left: Left, remains: bool) {
        self.left |= (remains as u8) << left as u8;
    }

    /// Records that the processor does not accept these measures.
    #[cfg(any(test, target_os = "none"))]
    pub(super) fn refuse(&mut self, refused: Measures) {
        let refused = self.in_force.and(refused);
        self.in_force = self.in_force.without(refused);
        self.leave(Left::Refused, !refused.is_empty());
    }

    /// What remains.
    pub fn left(&self) -> impl Iterator<Item = Left> {
        Left::ALL.into_iter().filter(|&left| self.left & 1 << left as u8 != 0)
    }

    /// How things stand.
    pub fn state(&self) -> State {
        if self.verdict.status == Status::NotAffected {
            return State::NotAffected;
        }
        let complete = self.in_force == self.measures && self.left().all(|left| left == Left::Dom0);
        match (self.in_force.is_empty(), self.note) {
            (true, None) => State::Vulnerable,
            _ if complete => State::Defended,
            (true, Some(_)) => State::Vulnerable,
            _ => State::Partly,
        }
    }

    /// The name of a measure, as far as it depends on the plan.
    fn name(measure: Measure, plan: &Plan) -> &'static str {
        match (measure, plan.branches, plan.thunk) {
            (Measure::Ibrs, BranchControl::Legacy, _) => "IBRS at entry",
            (Measure::Ibrs, BranchControl::Enhanced, _) => "enhanced IBRS",
            (Measure::Ibrs, BranchControl::Automatic, _) => "automatic IBRS",
            (Measure::Thunks, _, Thunk::Lfence) => "LFENCE before branches",
            (Measure::History, ..) if plan.history == HistoryControl::Disabled => "BHI_DIS_S",
            (Measure::History, ..) => "history cleared at entry",
            _ => measure.name(),
        }
    }

    /// The line of the log, given the plan.
    pub const fn line<'a>(&'a self, plan: &'a Plan) -> Line<'a> {
        Line { finding: self, plan }
    }
}

/// One line of the log.
#[derive(Debug)]
pub struct Line<'a> {
    finding: &'a Finding,
    plan: &'a Plan,
}

impl Line<'_> {
    fn list(&self, f: &mut fmt::Formatter<'_>, title: &str, measures: Measures) -> fmt::Result {
        let mut before = title;
        for measure in measures.iter() {
            write!(f, "{before}{}", Finding::name(measure, self.plan))?;
            before = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { flaw, verdict, note, .. } = *self.finding;
        let assumed = if verdict.status == Status::Unknown { "assumed: " } else { "" };
        write!(f, "{}: {} ({assumed}{})", flaw.name(), self.finding.state().name(), verdict.why)?;
        if let Some(note) = note {
            write!(f, ": {note}")?;
        }
        self.list(f, ": ", self.finding.in_force)?;
        let mut before = "; left: ";
        for left in self.finding.left() {
            write!(f, "{before}{}", left.name())?;
            before = ", ";
        }
        Ok(())
    }
}
