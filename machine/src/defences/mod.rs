//! Defences against transient execution: the facts about the processor (`facts`), the flaws that it
//! has (`flaws`, by the tables in `models`), the measures against them (`plan`), the guests' view
//! (`guest`), the report (`findings`, `report`), and the bits of MSRs that each CPU sets
//! (`writes`).
//!
//! Everything but the reading of facts and the access to MSRs is pure: the same facts and options
//! give the same plan. `docs/defences.md` describes the flaws and the measures.

#[cfg_attr(target_os = "none", path = "bare.rs")]
#[cfg_attr(not(target_os = "none"), path = "hosted.rs")]
mod backend;
pub(crate) mod bits;
mod errata;
mod facts;
mod findings;
mod flaws;
mod guest;
mod measures;
mod models;
mod plan;
mod report;
mod writes;

pub use errata::{CORRECTIONS, Correction, Corrections};
pub use facts::{Facts, Vendor};
pub use findings::{Finding, Left, State, findings};
pub use flaws::{Flaw, Status, Verdict};
pub use guest::{GuestSpecCtrl, GuestView};
pub use measures::{Measure, Measures};
pub use plan::{BranchControl, Domains, GatherControl, HistoryControl, Plan, TsxControl, plan};
pub use report::{Json, Report};
pub use writes::{Write, writes};

use core::sync::atomic::{AtomicU32, Ordering};

use crate::boot;
use crate::once::Once;

static REPORT: Once<Report> = Once::new();

/// The changes that have been reported as refused, by their places in the list.
static REPORTED: AtomicU32 = AtomicU32::new(0);

/// Reads the facts on the boot CPU, decides, sets its MSRs, and logs the report. Called once, with
/// the interrupt table loaded.
#[cfg(target_os = "none")]
pub(crate) fn init() {
    let mut report = Report::new(backend::facts(), boot::options().defences);
    let refused = set_msrs(&report);
    report.refuse(refused);
    let report = REPORT.set(report);
    backend::prepare_entry(report);
    report.log();
}

/// Sets the MSRs of another CPU that starts, with its interrupt table loaded.
pub(crate) fn start_cpu() {
    set_msrs(report());
    backend::prepare_entry(report());
}

/// Makes the changes of MSRs on this CPU. Returns the measures that it does not accept.
fn set_msrs(report: &Report) -> Measures {
    let mut refused = Measures::default();
    for (place, change) in writes(&report.plan, &report.facts).enumerate() {
        if backend::make(&change) {
            continue;
        }
        refused = refused.or(change.measures);
        let bit = 1 << place;
        if REPORTED.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            log::warn!("{}: the processor does not accept the bits of MSR {:#x}", change.name, change.msr);
        }
    }
    refused
}

/// What was decided at boot.
pub fn report() -> &'static Report {
    REPORT.get_or_set(|| Report::new(backend::facts(), boot::options().defences))
}

/// Sets SPEC_CTRL of this CPU.
#[cfg(not(target_os = "none"))]
pub(crate) fn write_spec_ctrl(value: u64) {
    backend::set_msr(crate::processor::msr::SPEC_CTRL, value);
}

/// Decides for a processor in a test. Returns the changes that each CPU makes.
#[cfg(test)]
pub(crate) fn decide_for(facts: Facts) -> impl Iterator<Item = Write> {
    let report = REPORT.set(Report::new(facts, boot::options::Choices::DEFAULT));
    writes(&report.plan, &report.facts)
}

/// Whether an MSR of a simulated CPU has the bits that a change sets, and lacks those that it
/// clears.
#[cfg(test)]
pub(crate) fn is_made(change: &Write, cpu: crate::addr::CpuId) -> bool {
    change.make(|number| Some(backend::msr(cpu, number)), |_, _| false)
}

/// SPEC_CTRL of this CPU.
#[cfg(test)]
pub(crate) fn spec_ctrl_of_this_cpu() -> u64 {
    backend::msr(crate::per_cpu::current(), crate::processor::msr::SPEC_CTRL)
}

#[cfg(test)]
mod tests;
