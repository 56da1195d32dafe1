//! The scenarios that there are, and the machine that each of them wants.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{ControlDomain, HOST_MEMORY, Job};
use crate::debian::control_disk::Disk;
use crate::debian::kernels;
use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::{Booted, Hardware};
use crate::virtual_machine::scenario::Scenario;

/// What stands before each step of every scenario.
pub(crate) const PRELUDE: &str = include_str!("../../../scenarios/prelude.sh");

/// A scenario as it is written down, one file of `xtask/scenarios/`.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    text: &'static str,
    /// It is short, and runs among the tests that run unless others are asked for.
    pub(crate) is_usual: bool,
    /// Kernels for its guests beside the control domain's own: file in `/run/xtask`, and name.
    kernels: &'static [(&'static str, &'static str)],
    /// Packages that the control domain's disk has besides.
    packages: &'static [&'static str],
    /// More words for the command line of the control domain's kernel; what is not the kernel's is
    /// in the environment of Debian's scripts.
    append: &'static str,
    /// Of the machine.
    memory: Size,
    /// How long it may take altogether on a busy and emulated machine, in seconds.
    time: u64,
}

/// A stock kernel that is quickly unpacked and needs little memory.
const SMALL: &[(&str, &str)] = &[("vmlinuz-small", "debian12-cloud")];

/// The scenario that every other presupposes: a guest's life from `xl create` to its end.
const LIFE: Script = Script {
    name: "life",
    text: include_str!("../../../scenarios/life.sh"),
    is_usual: true,
    kernels: &[],
    packages: &[],
    append: "",
    memory: HOST_MEMORY,
    time: 1800,
};

/// All scenarios.
pub(crate) const SCRIPTS: &[Script] = &[
    LIFE,
    Script {
        name: "soak",
        text: include_str!("../../../scenarios/soak.sh"),
        is_usual: false,
        kernels: SMALL,
        memory: Size::mib(3072),
        time: 14400,
        ..LIFE
    },
    Script { name: "tools", text: include_str!("../../../scenarios/tools.sh"), is_usual: false, time: 3600, ..LIFE },
    Script {
        name: "malformed",
        text: include_str!("../../../scenarios/malformed.sh"),
        is_usual: false,
        kernels: SMALL,
        time: 7200,
        ..LIFE
    },
    Script {
        name: "xenstored",
        text: include_str!("../../../scenarios/xenstored.sh"),
        is_usual: false,
        append: "XENSTORED=/usr/lib/xen-4.17/bin/xenstored",
        ..LIFE
    },
    Script {
        name: "neighbours",
        text: include_str!("../../../scenarios/neighbours.sh"),
        is_usual: false,
        kernels: SMALL,
        ..LIFE
    },
    Script {
        name: "libvirt",
        text: include_str!("../../../scenarios/libvirt.sh"),
        is_usual: false,
        packages: &["libvirt-daemon", "libvirt-daemon-driver-xen", "libvirt-clients"],
        ..LIFE
    },
];

impl Script {
    /// The scenario of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCRIPTS.iter().find(|script| script.name == name)
    }

    /// The disk that it runs from.
    pub(crate) fn disk(&self) -> Result<Disk> {
        Disk::prepared(self.packages)
    }

    /// Its steps: with `full` in the long form, if it has one.
    pub(crate) fn scenario(&self, full: bool) -> Result<Scenario> {
        let full = if full { "yes" } else { "no" };
        Scenario::parse(&format!("{PRELUDE}full={full}\n"), self.text)
    }

    /// Switches on a machine that runs `scenario`, which is this one's; memory and time are what it
    /// wants.
    pub(crate) fn boot(
        &self,
        scenario: &Scenario,
        hardware: Hardware,
        (host, accelerator): (&Host, Accelerator),
        disk: &Disk,
        log: &Path,
    ) -> Result<Booted> {
        let mut files = disk.guest_files()?;
        for (file, kernel) in self.kernels {
            files.push(((*file).into(), fs::read(kernels::named(kernel)?)?));
        }
        let hardware = Hardware { timeout: Some(self.time), host_memory: Some(self.memory), ..hardware };
        let control_domain = ControlDomain {
            hardware: &hardware,
            vcpus: None,
            memory: None,
            append: self.append,
            job: Job::Scenario(scenario),
            files,
            disks: Vec::new(),
        };
        control_domain.boot(host, accelerator, disk, log)
    }
}
