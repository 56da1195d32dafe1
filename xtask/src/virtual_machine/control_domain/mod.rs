//! Debian's control domain on a machine: how it is booted, its ramdisk, and the scenarios that it
//! runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::debian::control_disk::Disk;
use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine::{Booted, Contents, Hardware, Setup};
use crate::virtual_machine::qemu::Drive;
use crate::virtual_machine::scenario::Scenario;

mod cable;
mod ramdisk;
mod script;

pub(crate) use script::{PRELUDE, SCRIPTS, Script};

/// The control domain's name in Xen's tools.
const NAME: &str = "Domain-0";

const MEMORY: Size = Size::mib(768);
const CPUS: u32 = 2;
const HOST_MEMORY: Size = Size::mib(2048);

/// A control domain to boot.
#[derive(Debug)]
pub(crate) struct ControlDomain<'a> {
    pub(crate) hardware: &'a Hardware,
    pub(crate) vcpus: Option<u32>,
    pub(crate) memory: Option<Size>,
    /// Additional words for its kernel's command line.
    pub(crate) append: &'a str,
    pub(crate) job: Job<'a>,
    /// Names and contents of files for `/run/xtask`.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Additional disks, `/dev/vda` and so on; writes to them are discarded.
    pub(crate) disks: Vec<PathBuf>,
}

/// What the control domain does before it powers off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Job<'a> {
    /// An interactive shell.
    Shell,
    Command(&'a [OsString]),
    /// The steps of a scenario for the host of this name.
    Steps(&'a Scenario, &'a str),
}

impl ControlDomain<'_> {
    /// Starts the machine; its serial output is stored in `log`.
    pub(crate) fn boot(&self, host: &Host, accelerator: Accelerator, disk: &Disk, log: &Path) -> Result<Booted> {
        let cpus = self.hardware.cpus.unwrap_or(CPUS);
        let domain = GuestModule {
            name: NAME.into(),
            memory: self.memory.unwrap_or(MEMORY),
            vcpus: self.vcpus.unwrap_or(cpus),
            kernel: "vmlinuz".into(),
            ramdisk: Some("ramdisk".into()),
            command_line: format!("console={} {}", host.console(), self.append).trim_end().to_owned(),
        };
        let ramdisk = ramdisk::ramdisk(disk, self.job, &self.files)?.finish()?;
        let images = [&disk.image].into_iter().chain(&self.disks).cloned().map(Contents::File);
        let names: Vec<String> = (0..=self.disks.len()).map(|number| format!("disk{number}")).collect();
        let boot = [("vmlinuz", Contents::File(disk.kernel.clone())), ("ramdisk", Contents::Bytes(ramdisk))];
        let setup = Setup {
            host,
            accelerator,
            cpu: self.hardware.cpu.clone(),
            cpus,
            memory: self.hardware.host_memory.unwrap_or(HOST_MEMORY),
            load: Load::Initial(domain),
            files: boot.into_iter().chain(names.iter().map(String::as_str).zip(images)).collect(),
            disks: names.iter().map(|name| Drive { file: name.clone(), kept: false }).collect(),
            options: self.hardware.host_append.clone(),
            raw: matches!(self.job, Job::Shell),
            limits: self.hardware.limits(),
            arguments: self.hardware.arguments.clone(),
        };
        setup.boot(log)
    }
}
