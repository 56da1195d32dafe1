//! Scenarios in the control domain: Debian's own tools against the hypervisor, each step a test of its own.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Outcome, Report, Test};
use crate::control_domain::{ControlDomain, Disk, Job};
use crate::machine::{self, Hardware};
use crate::scenario::Scenario;

const PRELUDE: &str = include_str!("../../scenarios/prelude.sh");

/// How long a whole scenario may take on a busy and emulated machine, in seconds.
const TIME: u64 = 1800;

/// The scenarios: name and file.
const SCENARIOS: [(&str, &str); 1] = [("tools", include_str!("../../scenarios/tools.sh"))];

/// Runs them all, one by one.
pub(super) fn run(test: &Test, bench: &Bench, report: &mut Report) {
    for (name, text) in SCENARIOS {
        if !test.chooses(name) {
            continue;
        }
        let Some(disk) = report.prepared("control domain", Disk::prepared(&[])) else { return };
        for _ in 0..test.repeat {
            if let Err(error) = boot(bench, &disk, name, text, report) {
                report.add(name, Duration::ZERO, Outcome::Failure(format!("{error:#}")));
            }
        }
    }
}

fn boot(bench: &Bench, disk: &Disk, name: &str, text: &str, report: &mut Report) -> Result<()> {
    let scenario = Scenario::parse(PRELUDE, text)?;
    let hardware = Hardware { timeout: Some(TIME), cpu: bench.cpu.clone(), ..Hardware::default() };
    let control_domain = ControlDomain {
        hardware: &hardware,
        vcpus: None,
        memory: None,
        append: "",
        job: Job::Scenario(&scenario),
        files: disk.guest_files()?,
        disks: Vec::new(),
    };
    let log = machine::log_file("test-logs", &format!("control-domain-{name}"))?;
    let mut booted = control_domain.boot(&bench.host, bench.accelerator, disk, &log)?;
    scenario.follow(&mut booted, |answer| {
        let outcome = answer.complaint().map_or(Outcome::Success, Outcome::Failure);
        report.add(&format!("{name}: {}", answer.name), answer.wall, outcome);
    })
}
