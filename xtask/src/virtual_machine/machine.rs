//! Options that describe a machine and its guests, shared by all commands that boot one, and how to
//! start a session from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::debian::kernels;
use crate::debian::kernels::KERNELS;
use crate::foundation::size::Size;
use crate::foundation::workspace;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::emulator;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::qemu;
use crate::virtual_machine::qemu::{Boot, Drive, Machine};
use crate::virtual_machine::session;
use crate::virtual_machine::session::{Limits, Session};

/// Memory for Paravane and the firmware.
const HOST_OWN: Size = Size::mib(256);

/// Memory for a guest's kernel and ramdisk until it has started.
const MODULES: Size = Size::mib(32);

/// Smallest default size of a machine.
const LEAST: Size = Size::mib(512);

/// The machine itself.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Hardware {
    /// Physical CPUs of the machine [default: 1; with a control domain 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: Option<u32>,
    /// QEMU's CPU model [default: Haswell when emulated, host under KVM]
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu: Option<String>,
    /// Memory of the machine [default: memory of the guests and 256M, at least 512M; with a control
    /// domain 2G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) host_memory: Option<Size>,
    /// Additional words for the hypervisor's command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) host_append: String,
    /// How QEMU runs the CPUs [default: kvm where it works, else tcg]
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accelerator>,
    /// Give up after this many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) timeout: Option<u64>,
    /// Additional QEMU arguments.
    #[arg(skip)]
    pub(crate) arguments: Vec<String>,
}

/// The machine and its guests.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) hardware: Hardware,
    /// Number of guests to start, without a control domain
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) guests: u32,
    /// Virtual CPUs of each guest, or of the control domain [default: 1; control domain: number of
    /// CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=128))]
    pub(crate) vcpus: Option<u32>,
    /// Memory of each guest, or of the control domain, for example 256M or 2G [default: 256M;
    /// control domain: 768M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<Size>,
    /// Kernel of guests without a control domain: a file, or debian12, debian12-cloud, debian12-rt,
    /// debian13
    #[arg(long, value_name = "FILE", default_value = "debian12")]
    pub(crate) kernel: String,
    /// Ramdisk of guests without a control domain, instead of the default one with busybox
    #[arg(long, value_name = "FILE")]
    pub(crate) ramdisk: Option<PathBuf>,
    /// Additional words for the kernel command line of the guests or of the control domain
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
}

/// Contents of a file that a machine boots.
#[derive(Clone, Debug)]
pub(crate) enum Contents {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// Everything that is needed to boot a machine.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) host: &'a Host,
    pub(crate) accelerator: Accelerator,
    pub(crate) cpu: Option<String>,
    pub(crate) cpus: u32,
    pub(crate) memory: Size,
    pub(crate) load: Load,
    /// The files that the load names as kernel and ramdisk, and the disks.
    pub(crate) files: Vec<(&'a str, Contents)>,
    pub(crate) disks: Vec<Drive>,
    /// Words for the hypervisor's command line.
    pub(crate) options: String,
    /// Whether the only guest's console has the serial line to itself.
    pub(crate) raw: bool,
    pub(crate) limits: Limits,
    /// Additional QEMU arguments.
    pub(crate) arguments: Vec<String>,
}

/// A session, and the folder with the machine's files.
#[derive(Debug)]
pub(crate) struct Booted {
    pub(crate) session: Session,
    pub(crate) limits: Limits,
    folder: TempDir,
}

impl Booted {
    /// The folder with the machine's files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Default time limit of a guest for reaching user space.
const BOOT_TIME: Duration = Duration::from_secs(240);

impl Setup<'_> {
    /// Starts the machine; its serial output is stored in `log`.
    pub(crate) fn boot(self, log: &Path) -> Result<Booted> {
        ensure!(!self.raw || self.load.all().len() == 1, "only one guest can have the console to itself");
        let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
        for (name, contents) in &self.files {
            match contents {
                Contents::File(file) => qemu::place(file, folder.path(), name)?,
                Contents::Bytes(bytes) => fs::write(folder.path().join(name), bytes)?,
            }
        }
        let names: Vec<String> = self.load.all().iter().map(|guest| guest.name.clone()).collect();
        let mut options = self.options;
        if self.raw
            && let (Host::Paravane(_), Load::Guests(_)) = (self.host, &self.load)
        {
            options = format!("guest_console=raw:{} {options}", names.concat());
        }
        let (kernel, append, modules) = self.host.boot(&self.load, &options)?;
        let machine = Machine {
            accelerator: self.accelerator,
            cpu: self.cpu.unwrap_or_else(|| self.accelerator.cpu().into()),
            cpus: self.cpus,
            memory: self.memory,
            boot: Boot::Loaded { kernel, append, modules },
            folder: folder.path().to_owned(),
            disks: self.disks,
            arguments: self.arguments,
        };
        let alone = self.raw || self.host.is_console_alone() || matches!(self.load, Load::Initial(_));
        let session = Session::new(machine.start()?, &names, alone, log)?;
        Ok(Booted { session, limits: self.limits, folder })
    }
}

/// Default memory of the machine: `guests` guests of this size, and the host.
pub(crate) fn host_memory(guests: u64, each: Size) -> Size {
    Size::mib((each.in_mib() * guests + HOST_OWN.in_mib() + MODULES.in_mib() * guests).max(LEAST.in_mib()))
}

/// Default memory of a guest.
const GUEST_MEMORY: Size = Size::mib(256);

impl Hardware {
    /// Chooses the accelerator, once for several machines.
    pub(crate) fn choose_accelerator(&self) -> Result<(Accelerator, String)> {
        emulator::need()?;
        Accelerator::choose(self.accel)
    }

    /// Time limits of the boot and of the whole session.
    pub(crate) fn limits(&self) -> Limits {
        let whole = self.timeout.map(Duration::from_secs);
        Limits { boot: Some(whole.unwrap_or(BOOT_TIME)), whole, end: session::END_TIME }
    }
}

impl Options {
    /// Fails if an option was given that applies only to guests without a control domain.
    pub(crate) fn refuse_direct(&self) -> Result<()> {
        let given = [
            ("--guests", self.guests != 1),
            ("--kernel", self.kernel != KERNELS[0].name),
            ("--ramdisk", self.ramdisk.is_some()),
        ];
        if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
            bail!("{option} is for guests without a control domain: add --direct");
        }
        Ok(())
    }

    /// Boots guests without a control domain. With `raw` the only guest's console has the serial
    /// line to itself.
    pub(crate) fn boot(
        &self,
        host: &Host,
        accelerator: Accelerator,
        ramdisk: Option<Contents>,
        raw: bool,
        log: &Path,
    ) -> Result<Booted> {
        let memory = self.memory.unwrap_or(GUEST_MEMORY);
        let guest = |number| GuestModule {
            name: format!("guest{number}"),
            memory,
            vcpus: self.vcpus.unwrap_or(1),
            kernel: "vmlinuz".into(),
            ramdisk: ramdisk.is_some().then(|| "ramdisk".into()),
            command_line: format!("console={} hostname=guest{number} {}", host.console(), self.append)
                .trim_end()
                .to_owned(),
        };
        let load = Load::Guests((1..=self.guests).map(guest).collect());
        let kernel = ("vmlinuz", Contents::File(kernels::named(&self.kernel)?));
        let setup = Setup {
            host,
            accelerator,
            cpu: self.hardware.cpu.clone(),
            cpus: self.hardware.cpus.unwrap_or(1),
            memory: self.hardware.host_memory.unwrap_or_else(|| host_memory(self.guests.into(), memory)),
            load,
            files: [kernel].into_iter().chain(ramdisk.map(|contents| ("ramdisk", contents))).collect(),
            disks: Vec::new(),
            options: self.hardware.host_append.clone(),
            raw,
            limits: self.hardware.limits(),
            arguments: self.hardware.arguments.clone(),
        };
        setup.boot(log)
    }
}

/// Path of a log file; creates the folder for logs of its kind.
pub(crate) fn log_file(kind: &str, name: &str) -> Result<PathBuf> {
    Ok(workspace::made(workspace::target().join(kind)).context("no place for logs")?.join(format!("{name}.log")))
}
