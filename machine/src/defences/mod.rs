//! Defences against transient execution: what the processor is (`facts`), which flaws it has
//! (`flaws`, by the tables in `models`), what Paravane does about each (`plan`), what guests are
//! told (`guest`), and the report of it (`findings`, `report`).
//!
//! Everything but the reading of facts is pure: the same facts and options give the same plan.
//! `docs/defences.md` describes the flaws and the measures.

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

pub use errata::{CORRECTIONS, Correction, Corrections};
pub use facts::{Facts, Vendor};
pub use findings::{Finding, Left, State, findings};
pub use flaws::{Flaw, Status, Verdict};
pub use guest::GuestView;
pub use measures::{IMPLEMENTED, Implemented, Measure, Measures};
pub use plan::{BranchControl, Domains, GatherControl, HistoryControl, Plan, TsxControl, plan};
pub use report::{Json, Report};

use crate::boot;
use crate::once::Once;

static REPORT: Once<Report> = Once::new();

/// Reads the facts on the boot CPU, decides, and logs the report. Called once.
#[cfg(target_os = "none")]
pub(crate) fn init() {
    REPORT.set(Report::new(backend::facts(), boot::options().defences)).log();
}

/// What was decided at boot.
pub fn report() -> &'static Report {
    REPORT.get_or_set(|| Report::new(backend::facts(), boot::options().defences))
}

#[cfg(test)]
mod tests;
