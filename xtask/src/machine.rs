//! The options that describe a machine and its guests, shared by every command that boots one, and the way from them to
//! a session.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::accelerator::Accelerator;
use crate::host::{GuestModule, Host};
use crate::qemu::{self, Machine};
use crate::session::{Limits, Session};
use crate::size::Size;
use crate::{kernels, packages, workspace};

/// What Paravane and the firmware need beside the guests' memory.
const HOST_OWN: Size = Size::mib(256);

/// The machine and its guests.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How many guests to start
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) guests: u32,
    /// Virtual CPUs of each guest
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub(crate) vcpus: u32,
    /// Memory of each guest, for example 256M or 2G
    #[arg(long, value_name = "SIZE", default_value = "256M")]
    pub(crate) memory: Size,
    /// Guest kernel: a file, or debian12, debian12-cloud, debian12-rt, debian13
    #[arg(long, value_name = "FILE", default_value = "debian12")]
    pub(crate) kernel: String,
    /// Ramdisk of the guests instead of the one with busybox
    #[arg(long, value_name = "FILE")]
    pub(crate) ramdisk: Option<PathBuf>,
    /// More words for the guests' kernel command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// More words for the hypervisor's command line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) host_append: String,
    /// Physical CPUs of the machine
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) cpus: u32,
    /// QEMU's CPU model [default: Haswell when emulated, host under KVM]
    #[arg(long, value_name = "MODEL")]
    pub(crate) cpu: Option<String>,
    /// Memory of the machine [default: what the guests need and 256M, at least 512M]
    #[arg(long, value_name = "SIZE")]
    pub(crate) host_memory: Option<Size>,
    /// How QEMU runs the CPUs [default: kvm where it is real, else tcg]
    #[arg(long, value_enum)]
    pub(crate) accel: Option<Accelerator>,
    /// Give up after this many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) timeout: Option<u64>,
}

/// What the guests' memory holds beside the kernel: the ramdisk, as a file or as bytes.
#[derive(Debug)]
pub(crate) enum Ramdisk {
    File(PathBuf),
    Bytes(Vec<u8>),
    None,
}

/// A session and the folder that its machine's files are in.
#[derive(Debug)]
pub(crate) struct Booted {
    pub(crate) session: Session,
    pub(crate) limits: Limits,
    _folder: TempDir,
}

/// How long a guest may take to user space unless a timeout is given.
const BOOT_TIME: Duration = Duration::from_secs(240);

impl Options {
    /// The names of the guests.
    pub(crate) fn names(&self) -> Vec<String> {
        if self.guests == 1 { vec!["guest".into()] } else { (1..=self.guests).map(|n| format!("guest{n}")).collect() }
    }

    /// The accelerator, chosen once for several machines.
    pub(crate) fn choose_accelerator(&self) -> Result<(Accelerator, String)> {
        packages::need_program(qemu::QEMU, qemu::QEMU_PACKAGE)?;
        Accelerator::choose(self.accel)
    }

    /// Boots the machine; `raw` gives the one guest's console the serial line to itself.
    pub(crate) fn boot(
        &self,
        host: &Host,
        accelerator: Accelerator,
        ramdisk: Ramdisk,
        raw: bool,
        log: &Path,
    ) -> Result<Booted> {
        ensure!(!raw || self.guests == 1, "only one guest can have the console to itself");
        let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
        qemu::place(&kernels::named(&self.kernel)?, folder.path(), "vmlinuz")?;
        let has_ramdisk = !matches!(ramdisk, Ramdisk::None);
        match ramdisk {
            Ramdisk::File(file) => qemu::place(&file, folder.path(), "ramdisk")?,
            Ramdisk::Bytes(bytes) => std::fs::write(folder.path().join("ramdisk"), bytes)?,
            Ramdisk::None => {}
        }
        let names = self.names();
        let command_line = format!("console={} {}", host.console(), self.append).trim_end().to_owned();
        let guests: Vec<GuestModule> = names
            .iter()
            .map(|name| GuestModule {
                name: name.clone(),
                memory: self.memory,
                vcpus: self.vcpus,
                kernel: "vmlinuz".into(),
                ramdisk: has_ramdisk.then(|| "ramdisk".into()),
                command_line: command_line.clone(),
            })
            .collect();
        let mut options = self.host_append.clone();
        if raw && let Host::Paravane(_) = host {
            options = format!("guest_console=raw:{} {options}", names[0]);
        }
        let (kernel, append, modules) = host.boot(&guests, &options)?;
        let machine = Machine {
            accelerator,
            cpu: self.cpu.clone().unwrap_or_else(|| accelerator.cpu().into()),
            cpus: self.cpus,
            memory: self.host_memory(),
            kernel,
            append,
            modules,
            folder: folder.path().to_owned(),
        };
        let session = Session::new(machine.start()?, &names, raw || host.is_console_alone(), log)?;
        let whole = self.timeout.map(Duration::from_secs);
        Ok(Booted { session, limits: Limits { boot: whole.unwrap_or(BOOT_TIME), whole }, _folder: folder })
    }

    fn host_memory(&self) -> Size {
        self.host_memory.unwrap_or_else(|| {
            let guests = self.memory.in_mib() * u64::from(self.guests);
            Size::mib((guests + HOST_OWN.in_mib() + 32 * u64::from(self.guests)).max(512))
        })
    }
}

/// The folder for logs of a kind, and the path of one in there.
pub(crate) fn log_file(kind: &str, name: &str) -> Result<PathBuf> {
    Ok(workspace::made(workspace::target().join(kind)).context("no place for logs")?.join(format!("{name}.log")))
}
