//! Full Debian guests, each on its own disk in the control domain: boot to login, disk and network
//! traffic, reboot, hotplug of CPUs and memory, save and restore, and PV GRUB.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Bench, Outcome, Report, Test, control_domain};
use crate::debian::control_disk::Disk;
use crate::debian::guest_disk::GUESTS;
use crate::virtual_machine::control_domain::{ControlDomain, Job, PRELUDE};
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::Hardware;
use crate::virtual_machine::scenario::{ALONE, Scenario};

const LIFE: &str = include_str!("../../../scenarios/debian-guest.sh");
const PV_GRUB: &str = include_str!("../../../scenarios/pv-grub.sh");
const END: &str = include_str!("../../../scenarios/debian-guest-end.sh");

/// Time limit of one guest on a busy and emulated machine, in seconds.
const TIME: u64 = 14_400;

/// Runs each guest's scenario.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    for guest in GUESTS {
        let name = format!("{} guest", guest.name);
        if !test.chooses(&name) {
            continue;
        }
        let Some(disk) = report.prepared("control domain", Disk::prepared(&[])) else { return };
        let Some(own) = report.prepared(&name, guest.disk()) else { continue };
        let text = [LIFE, if guest.boots_by_grub { PV_GRUB } else { "" }, END].concat();
        for _ in 0..test.repeat {
            if let Err(error) = life(bench, &disk, &own, &name, &text, report) {
                report.add(&name, Duration::ZERO, Outcome::Failure(format!("{error:#}")));
            }
        }
    }
}

fn life(bench: &Bench, disk: &Disk, own: &Path, name: &str, text: &str, report: &Report) -> Result<()> {
    let scenario = Scenario::parse(ALONE, PRELUDE, text)?;
    let hardware = Hardware { timeout: Some(TIME), cpu: bench.cpu.clone(), ..Hardware::default() };
    let control_domain = ControlDomain {
        hardware: &hardware,
        vcpus: None,
        memory: None,
        append: "",
        job: Job::Steps(&scenario, ALONE[0]),
        files: Vec::new(),
        disks: vec![own.to_owned()],
    };
    let log = machine::log_file("test-logs", &name.replace(' ', "-"))?;
    let booted = control_domain.boot(&bench.host, bench.accelerator, disk, &log)?;
    control_domain::follow(&scenario, &mut [booted], name, report)
}
