//! The scenarios that there are.

use std::path::Path;

use anyhow::Result;

use super::{ControlDomain, Disk, Job};
use crate::accelerator::Accelerator;
use crate::host::Host;
use crate::machine::{Booted, Hardware};
use crate::scenario::Scenario;

/// What stands before each step of every scenario.
pub(crate) const PRELUDE: &str = include_str!("../../scenarios/prelude.sh");

/// A scenario as it is written down, one file of `xtask/scenarios/`.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    text: &'static str,
    /// It is short, and runs among the tests that run unless others are asked for.
    pub(crate) is_usual: bool,
    /// How long it may take altogether on a busy and emulated machine, in seconds.
    time: u64,
}

/// The scenario that every other presupposes: a guest's life from `xl create` to its end.
const LIFE: Script = Script { name: "life", text: include_str!("../../scenarios/life.sh"), is_usual: true, time: 1800 };

/// All scenarios.
pub(crate) const SCRIPTS: &[Script] =
    &[LIFE, Script { name: "tools", text: include_str!("../../scenarios/tools.sh"), is_usual: false, time: 3600 }];

impl Script {
    /// The scenario of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCRIPTS.iter().find(|script| script.name == name)
    }

    /// Its steps.
    pub(crate) fn scenario(&self) -> Result<Scenario> {
        Scenario::parse(PRELUDE, self.text)
    }

    /// Switches on a machine that runs `scenario`, which is this one's, within the time that it wants.
    pub(crate) fn boot(
        &self,
        scenario: &Scenario,
        hardware: Hardware,
        (host, accelerator): (&Host, Accelerator),
        disk: &Disk,
        log: &Path,
    ) -> Result<Booted> {
        let hardware = Hardware { timeout: Some(self.time), ..hardware };
        let control_domain = ControlDomain {
            hardware: &hardware,
            vcpus: None,
            memory: None,
            append: "",
            job: Job::Scenario(scenario),
            files: disk.guest_files()?,
            disks: Vec::new(),
        };
        control_domain.boot(host, accelerator, disk, log)
    }
}
