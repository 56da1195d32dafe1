//! Scenarios in the control domain: Debian's own tools on the hypervisor. Each step is a test of
//! its own.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, Outcome, Report, Test};
use crate::debian::control_disk::Disk;
use crate::virtual_machine::control_domain::{SCRIPTS, Script};
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::{Booted, Hardware};
use crate::virtual_machine::scenario::Scenario;

/// Runs the scenarios in order: those of the selected kinds, or the short ones.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    let is_asked = |script: &Script| if script.has_several_hosts() { test.two_hosts } else { test.control_domain };
    let by_default = !(test.two_hosts || test.control_domain);
    let wanted = |script: &&Script| (is_asked(script) || by_default && script.is_usual) && test.chooses(script.name);
    let scripts: Vec<&Script> = SCRIPTS.iter().filter(wanted).collect();
    if scripts.is_empty() {
        return;
    }
    if matches!(bench.host, Host::Bare) {
        return report.add("control domain", Duration::ZERO, Outcome::Skip("needs a hypervisor".into()));
    }
    if by_default && matches!(Disk::is_at_hand(), Ok(false)) {
        let reason = "its disk is made as root, once, by 'cargo xtask run'";
        return report.add("control domain", Duration::ZERO, Outcome::Skip(reason.into()));
    }
    for script in scripts {
        for _ in 0..test.repeat {
            if let Err(error) = boot(test, bench, script, report) {
                report.add(script.name, Duration::ZERO, Outcome::Failure(format!("{error:#}")));
            }
        }
    }
}

fn boot(test: &Test, bench: &Bench, script: &Script, report: &Report) -> Result<()> {
    let scenario = script.scenario(test.full)?;
    let hardware = Hardware { cpu: bench.cpu.clone(), host_append: bench.options.clone(), ..Hardware::default() };
    let log = ("test-logs", &*format!("control-domain-{}", script.name));
    let mut machines = script.boot(&scenario, &hardware, (&bench.host, bench.accelerator), &script.disk()?, log)?;
    follow(&scenario, &mut machines, script.name, report)
}

/// Reports each step of the scenario that `machines` run as a test. An error concerns a machine.
pub(super) fn follow(scenario: &Scenario, machines: &mut [Booted], name: &str, report: &Report) -> Result<()> {
    scenario.follow(machines, |answer| {
        let outcome = answer.complaint().map_or(Outcome::Success, Outcome::Failure);
        report.add(&format!("{name}: {}", answer.name), answer.wall, outcome);
    })
}
