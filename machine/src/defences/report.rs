//! The report: facts, options, plan and findings, in the log and as JSON.

use core::fmt;

use super::errata::CORRECTIONS;
use super::facts::Facts;
use super::findings::{Finding, findings};
use super::flaws::{Flaw, Status};
use super::guest::GuestSpecCtrl;
use super::measures::{Measure, Measures};
use super::plan::{Domains, Plan, plan};
use crate::boot::options::Choices;

/// What was decided at boot, and why.
#[derive(Debug)]
pub struct Report {
    /// The processor.
    pub facts: Facts,
    /// The options.
    pub choices: Choices,
    /// The plan that follows from both.
    pub plan: Plan,
    /// How things stand with each flaw.
    pub findings: [Finding; Flaw::ALL.len()],
    /// The measures whose bits in MSRs the boot CPU does not accept.
    pub refused: Measures,
}

impl Report {
    /// How SPEC_CTRL is used while guests run.
    pub const fn guest_spec_ctrl(&self) -> GuestSpecCtrl {
        let control = GuestSpecCtrl::of(&self.facts, &self.plan);
        GuestSpecCtrl { at_entry: control.at_entry && !self.refused.contains(Measure::Ibrs), ..control }
    }

    /// The report on a processor with these facts, given these options.
    pub fn new(facts: Facts, choices: Choices) -> Self {
        let plan = plan(&facts, &choices);
        Self { facts, choices, plan, findings: findings(&facts, &choices, &plan), refused: Measures::default() }
    }

    /// Records the measures that the boot CPU does not accept.
    #[cfg(any(test, target_os = "none"))]
    pub(super) fn refuse(&mut self, refused: Measures) {
        self.refused = refused;
        for finding in &mut self.findings {
            finding.refuse(refused);
        }
    }

    /// Writes the report to the log, one line per flaw.
    #[cfg_attr(not(target_os = "none"), expect(dead_code, reason = "only the bare machine has a log of its boot"))]
    pub(super) fn log(&self) {
        log::info!("defences: {}", self.choices);
        log::info!("processor: {}", Processor(&self.facts));
        for finding in &self.findings {
            log::info!("{}", finding.line(&self.plan));
        }
        if !self.plan.corrections.is_empty() {
            let state = if self.refused.contains(Measure::Corrections) { "not all accepted" } else { "made" };
            log::info!("corrections of errata, {state}: {}", Names(&self.plan));
        }
    }

    /// The report as one JSON object.
    pub const fn json(&self) -> Json<'_> {
        Json(self)
    }
}

/// The processor in one line.
struct Processor<'a>(&'a Facts);

impl fmt::Display for Processor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts { vendor, family, model, stepping, microcode, threads_per_core, .. } = *self.0;
        write!(f, "{} family {family:#x} model {model:#x} stepping {stepping}", vendor.name())?;
        match microcode {
            Some(revision) => write!(f, ", microcode {revision:#x}")?,
            None => write!(f, ", microcode not readable")?,
        }
        write!(f, ", threads per core: {threads_per_core}")?;
        if self.0.is_virtual() { write!(f, ", in a virtual machine") } else { Ok(()) }
    }
}

/// The names of the corrections of a plan.
struct Names<'a>(&'a Plan);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = CORRECTIONS.iter().filter(|correction| self.0.corrections.contains(correction.flag));
        wanted
            .enumerate()
            .try_for_each(|(index, correction)| write!(f, "{}{}", if index == 0 { "" } else { ", " }, correction.name))
    }
}

/// A report as one JSON object. Its strings are constants without characters that need an escape.
#[derive(Debug)]
pub struct Json<'a>(&'a Report);

/// A JSON array, each element written by a function.
fn array<T>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    elements: impl Iterator<Item = T>,
    write: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "\"{name}\":[")?;
    for (index, element) in elements.enumerate() {
        f.write_str(if index == 0 { "" } else { "," })?;
        write(f, element)?;
    }
    f.write_str("]")
}

fn domains(f: &mut fmt::Formatter<'_>, name: &str, Domains { dom0, domu }: Domains) -> fmt::Result {
    write!(f, "\"{name}\":{{\"dom0\":{dom0},\"domu\":{domu}}},")
}

/// A number as a string of hexadecimal digits, since JSON's numbers are decimal and may be rounded.
struct Hexadecimal<T>(Option<T>);

impl<T: fmt::LowerHex> fmt::Display for Hexadecimal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(number) => write!(f, "\"{number:#x}\""),
            None => f.write_str("null"),
        }
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { facts, choices, plan, findings, .. } = self.0;
        f.write_str("{\"processor\":{")?;
        write!(f, "\"vendor\":\"{}\",\"family\":{},\"model\":{},", facts.vendor.name(), facts.family, facts.model)?;
        write!(f, "\"stepping\":{},\"microcode\":{},", facts.stepping, Hexadecimal(facts.microcode))?;
        write!(f, "\"arch_capabilities\":{},", Hexadecimal(facts.arch_capabilities))?;
        write!(f, "\"threads_per_core\":{},\"virtual\":{}}},", facts.threads_per_core, facts.is_virtual())?;
        write!(f, "\"options\":\"{choices}\",\"plan\":{{")?;
        domains(f, "split_roots", plan.split_roots)?;
        domains(f, "pcid", plan.pcid)?;
        domains(f, "refuse_entries", plan.refuse_entries)?;
        domains(f, "ibpb_at_entry", plan.barrier_at_entry)?;
        write!(f, "\"spec_ctrl\":{},", Hexadecimal(Some(plan.spec_ctrl())))?;
        let corrections = CORRECTIONS.iter().filter(|correction| plan.corrections.contains(correction.flag));
        array(f, "corrections", corrections, |f, correction| write!(f, "\"{}\"", correction.name))?;
        f.write_str("},")?;
        array(f, "flaws", findings.iter(), flaw)?;
        f.write_str("}")
    }
}

fn flaw(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let status = match finding.verdict.status {
        Status::NotAffected => "not affected",
        Status::Affected => "affected",
        Status::Unknown => "unknown",
    };
    write!(f, "{{\"name\":\"{}\",\"status\":\"{status}\",", finding.flaw.key())?;
    write!(f, "\"why\":\"{}\",\"state\":\"{}\",", finding.verdict.why, finding.state().name())?;
    array(f, "measures", finding.measures.iter(), |f, measure| {
        write!(f, "{{\"name\":\"{}\",\"in_force\":{}}}", measure.key(), finding.in_force.contains(measure))
    })?;
    f.write_str(",")?;
    array(f, "left", finding.left(), |f, left| write!(f, "\"{}\"", left.key()))?;
    match finding.note {
        Some(note) => write!(f, ",\"note\":\"{note}\"}}"),
        None => f.write_str("}"),
    }
}
