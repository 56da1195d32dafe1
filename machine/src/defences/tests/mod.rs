//! The plan on real processors, and properties that hold on all.

mod amd;
mod intel;
mod json;
mod properties;
mod virtual_machines;
mod writes;

use std::string::ToString;
use std::vec::Vec;

use super::bits::{leaf_1_ecx, leaf_7_ebx, leaf_7_edx};
use super::*;
use crate::boot::options::{Choices, Options, Thunk};

/// A processor, and what its sources make of it. Spectre v1 and v2 are understood.
struct Row {
    name: &'static str,
    facts: Facts,
    /// The flaws that it has.
    affected: &'static [Flaw],
    /// The flaws that it may have.
    unknown: &'static [Flaw],
    branches: BranchControl,
    thunk: Thunk,
    /// All measures of the plan without options.
    measures: &'static [Measure],
    /// The flaws whose measure needs newer microcode, or is hidden by a hypervisor.
    lacking: &'static [Flaw],
}

impl Row {
    fn check(&self) {
        let Self { name, facts, .. } = self;
        let plan = plan(facts, &Choices::DEFAULT);
        let with = |status| Flaw::ALL.into_iter().filter(move |&flaw| facts.verdict(flaw).status == status);
        let spectre = [Flaw::SpectreV1, Flaw::SpectreV2];
        let affected: Vec<Flaw> = with(Status::Affected).filter(|flaw| !spectre.contains(flaw)).collect();
        assert_eq!(affected, in_order(self.affected), "{name}");
        assert_eq!(with(Status::Unknown).collect::<Vec<_>>(), in_order(self.unknown), "{name}");
        assert_eq!((plan.branches, plan.thunk), (self.branches, self.thunk), "{name}");
        let measures: Vec<Measure> = plan.measures().iter().collect();
        assert_eq!(measures, Measures::of(self.measures).iter().collect::<Vec<_>>(), "{name}");
        let lacks = |finding: &&Finding| finding.left().any(|left| matches!(left, Left::Microcode | Left::Hidden));
        let found = findings(facts, &Choices::DEFAULT, &plan);
        let lacking: Vec<Flaw> = found.iter().filter(lacks).map(|finding| finding.flaw).collect();
        assert_eq!(lacking, in_order(self.lacking), "{name}");
    }
}

/// The flaws of a list in the order of reports.
fn in_order(list: &[Flaw]) -> Vec<Flaw> {
    let sorted: Vec<Flaw> = Flaw::ALL.into_iter().filter(|flaw| list.contains(flaw)).collect();
    assert_eq!(sorted.len(), list.len(), "{list:?}");
    sorted
}

/// A processor of a family, with the features that all but the oldest have, and two threads per
/// core.
const fn processor(vendor: Vendor, family: u16, model: u8, stepping: u8) -> Facts {
    Facts {
        vendor,
        family,
        model,
        stepping,
        leaf_1_ecx: leaf_1_ecx::PCID | leaf_1_ecx::AVX | leaf_1_ecx::RDRAND,
        leaf_7_ebx: leaf_7_ebx::SMEP | leaf_7_ebx::INVPCID | leaf_7_ebx::RDSEED,
        threads_per_core: 2,
        ..Facts::NOTHING
    }
}

/// The controls of Intel's microcode of 2018.
const CONTROLS: u32 = leaf_7_edx::IBRSB | leaf_7_edx::STIBP | leaf_7_edx::SSBD;

#[test]
fn processors_get_the_expected_plan() {
    let tables = [intel::ROWS, amd::ROWS, virtual_machines::ROWS];
    tables.into_iter().flatten().for_each(Row::check);
    assert!(tables.iter().map(|rows| rows.len()).sum::<usize>() >= 30);
}

#[test]
fn all_lines_fit_the_log() {
    for row in [intel::ROWS, amd::ROWS, virtual_machines::ROWS].into_iter().flatten() {
        for (options, columns) in [("", 115), ("spec-ctrl=no", 115), ("spec-ctrl=verw,ibrs,rsb,ibpb,stibp smt=0", 150)]
        {
            let choices = Options::parse(options).defences;
            let plan = plan(&row.facts, &choices);
            for finding in findings(&row.facts, &choices, &plan) {
                let line = finding.line(&plan).to_string();
                assert!(line.len() <= columns, "{} columns on {}: {line}", line.len(), row.name);
            }
        }
    }
}
