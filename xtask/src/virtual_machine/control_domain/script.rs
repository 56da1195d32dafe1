//! All scenarios, and the machines that each of them needs.

use std::fs;

use anyhow::{Context, Result};

use super::cable::Cable;
use super::{ControlDomain, HOST_MEMORY, Job};
use crate::artefacts::{control_command, programs};
use crate::debian::control_disk::Disk;
use crate::debian::kernels;
use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::{self, Booted, Hardware};
use crate::virtual_machine::scenario::{ALONE, Scenario};

/// Shell code before each step of every scenario.
pub(crate) const PRELUDE: &str = include_str!("../../../scenarios/prelude.sh");

/// A scenario in its source form, one file of `xtask/scenarios/`.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: &'static str,
    text: &'static str,
    /// The hosts, each a machine of its own.
    hosts: &'static [&'static str],
    /// Whether it is short enough to be among the default tests.
    pub(crate) is_usual: bool,
    /// Kernels for its guests besides the control domain's own: file in `/run/xtask`, and name.
    kernels: &'static [(&'static str, &'static str)],
    /// Test guests for its guests, in `/run/xtask` under their names.
    test_guests: &'static [&'static str],
    /// Whether the command `paravane` is in `/run/xtask`.
    with_command: bool,
    /// Additional packages on the control domain's disk.
    packages: &'static [&'static str],
    /// Additional words for the command line of the control domain's kernel. Words that the kernel
    /// does not know are passed to Debian's scripts as environment.
    append: &'static str,
    /// Physical CPUs of a machine, if not the default.
    cpus: Option<u32>,
    /// Memory of a machine.
    memory: Size,
    /// Memory and vCPUs of the control domain, if not the default.
    control_memory: Option<Size>,
    control_vcpus: Option<u32>,
    /// Time limit in seconds, on a busy and emulated machine.
    time: u64,
}

/// Two hosts on a private network, on which alpha has the address 10.0.0.1 and beta 10.0.0.2. Both
/// run from the same disk, and root may log in from one to the other.
const PAIR: Script = Script {
    hosts: &["alpha", "beta"],
    is_usual: false,
    packages: &["openssh-server", "openssh-client", "nbd-server", "nbd-client"],
    cpus: Some(1),
    memory: Size::mib(1024),
    control_memory: Some(Size::mib(384)),
    ..LIFE
};

/// Shell code before each step of a scenario on several hosts.
const PAIR_PRELUDE: &str = include_str!("../../../scenarios/pair.sh");

/// A stock kernel that decompresses quickly and needs little memory.
const SMALL: &[(&str, &str)] = &[("vmlinuz-small", "debian12-cloud")];

/// The basic scenario: a guest's life from `xl create` to its end.
const LIFE: Script = Script {
    name: "life",
    text: include_str!("../../../scenarios/life.sh"),
    hosts: ALONE,
    is_usual: true,
    kernels: &[],
    test_guests: &[],
    with_command: false,
    packages: &[],
    append: "",
    cpus: None,
    memory: HOST_MEMORY,
    control_memory: None,
    control_vcpus: None,
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
        name: "busy-disks",
        text: include_str!("../../../scenarios/busy-disks.sh"),
        is_usual: false,
        memory: Size::mib(3072),
        control_memory: Some(Size::mib(1024)),
        control_vcpus: Some(4),
        time: 5400,
        ..LIFE
    },
    Script {
        name: "crowd",
        text: include_str!("../../../scenarios/crowd.sh"),
        is_usual: false,
        test_guests: &["crowd"],
        memory: Size::mib(8192),
        control_memory: Some(Size::mib(2048)),
        time: 43200,
        ..LIFE
    },
    Script {
        name: "migrate",
        text: include_str!("../../../scenarios/migrate.sh"),
        is_usual: false,
        time: 3600,
        ..LIFE
    },
    Script {
        name: "paravane",
        text: include_str!("../../../scenarios/paravane.sh"),
        is_usual: false,
        with_command: true,
        time: 3600,
        ..LIFE
    },
    Script {
        name: "libvirt",
        text: include_str!("../../../scenarios/libvirt.sh"),
        is_usual: false,
        packages: &["libvirt-daemon", "libvirt-daemon-driver-xen", "libvirt-clients"],
        ..LIFE
    },
    Script {
        name: "carry",
        text: concat!(include_str!("../../../scenarios/pair-start.sh"), include_str!("../../../scenarios/carry.sh")),
        time: 7200,
        ..PAIR
    },
    Script {
        name: "live",
        text: concat!(include_str!("../../../scenarios/pair-start.sh"), include_str!("../../../scenarios/live.sh")),
        time: 80000,
        ..PAIR
    },
    Script {
        name: "failover",
        text: concat!(include_str!("../../../scenarios/pair-start.sh"), include_str!("../../../scenarios/failover.sh")),
        time: 7200,
        ..PAIR
    },
];

impl Script {
    /// Finds a scenario by name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SCRIPTS.iter().find(|script| script.name == name)
    }

    /// The disk that it runs from.
    pub(crate) fn disk(&self) -> Result<Disk> {
        Disk::prepared(self.packages)
    }

    /// Whether it needs several hosts.
    pub(crate) const fn has_several_hosts(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Parses its steps; `full` selects the long form, if it has one.
    pub(crate) fn scenario(&self, full: bool) -> Result<Scenario> {
        let full = if full { "yes" } else { "no" };
        let more = if self.has_several_hosts() { PAIR_PRELUDE } else { "" };
        Scenario::parse(self.hosts, &format!("{PRELUDE}{more}full={full}\n"), self.text)
    }

    /// Starts the machines that run `scenario`, a parsed form of this script, with the memory and
    /// time limit of this script. Their serial output is stored under the log name `(KIND, NAME)`,
    /// with the host's name if there are several.
    pub(crate) fn boot(
        &self,
        scenario: &Scenario,
        hardware: &Hardware,
        (host, accelerator): (&Host, Accelerator),
        disk: &Disk,
        (kind, log): (&str, &str),
    ) -> Result<Vec<Booted>> {
        let files = self.files(disk)?;
        let mut cable = if self.has_several_hosts() { Some(Cable::new()?) } else { None };
        let mut machines = Vec::new();
        for (&name, number) in self.hosts.iter().zip(1..) {
            let mut hardware = Hardware {
                cpus: hardware.cpus.or(self.cpus),
                timeout: Some(self.time),
                host_memory: Some(self.memory),
                ..hardware.clone()
            };
            let (mut append, mut log) = (self.append.to_owned(), log.to_owned());
            let end = cable.as_mut().map(Cable::end).transpose()?;
            if let Some(end) = &end {
                hardware.arguments.extend(end.arguments(number));
                append = format!("{append} host={name} address=10.0.0.{number}/24");
                log = format!("{log}-{name}");
            }
            let control_domain = ControlDomain {
                hardware: &hardware,
                vcpus: self.control_vcpus,
                memory: self.control_memory,
                append: &append,
                job: Job::Steps(scenario, name),
                files: files.clone(),
                disks: Vec::new(),
            };
            machines.push(control_domain.boot(host, accelerator, disk, &machine::log_file(kind, &log)?)?);
        }
        Ok(machines)
    }

    /// Names and contents of the files for `/run/xtask`.
    fn files(&self, disk: &Disk) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = disk.guest_files()?;
        for (file, kernel) in self.kernels {
            files.push(((*file).into(), fs::read(kernels::named(kernel)?)?));
        }
        if !self.test_guests.is_empty() {
            let programs = programs::test_guests()?;
            for &name in self.test_guests {
                let program = programs.get(name).with_context(|| format!("cargo built no {name}"))?;
                files.push((name.into(), fs::read(program)?));
            }
        }
        if self.with_command {
            files.push(("paravane".into(), fs::read(control_command::built()?)?));
        }
        Ok(files)
    }
}
