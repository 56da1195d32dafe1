//! The configurations in which a kernel is measured, and how to boot each.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::debian::kernels;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::{Contents, Setup};
use crate::virtual_machine::session::{END_TIME, Limits};

/// Memory of the guest, and of the kernel on the bare machine.
pub(super) const MEMORY: Size = Size::mib(256);
/// Memory of the machine.
pub(super) const HOST_MEMORY: Size = Size::mib(2048);
/// Time limit: counting instructions is slow.
pub(super) const TIME: Duration = Duration::from_secs(3600);
/// QEMU arguments to count instructions and start every machine at the same time of day, and the
/// machine type that a control domain's disk needs.
pub(crate) const COUNTED: [&str; 6] =
    ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-machine", "q35"];
/// Options of Xen and Paravane without defences against transient execution.
pub(crate) const UNDEFENDED: &str = Defences::None.options();
/// Name of the initial domain.
pub(super) const INITIAL: &str = "Domain-0";

/// The defences of Xen and Paravane against transient execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Defences {
    /// None.
    None,
    /// Those that are on by default on the emulated processor.
    Default,
    /// All that exist.
    All,
}

impl Defences {
    /// Words for the hypervisor's command line.
    pub(crate) const fn options(self) -> &'static str {
        match self {
            Self::None => "xpti=off spec-ctrl=no",
            Self::Default => "",
            Self::All => "xpti=yes pv-l1tf=yes spec-ctrl=rsb=yes,md-clear=yes",
        }
    }
}

/// A configuration: where the kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Configuration {
    /// Directly on the machine.
    Bare,
    /// As the initial domain of Debian's Xen.
    XenDom0,
    /// As a guest of Debian's Xen, started by its control domain.
    XenGuest,
    /// As the initial domain of Paravane.
    ParavaneDom0,
    /// As a guest of Paravane.
    ParavaneGuest,
}

impl Configuration {
    pub(crate) const ALL: [Self; 5] =
        [Self::Bare, Self::XenDom0, Self::XenGuest, Self::ParavaneDom0, Self::ParavaneGuest];

    /// Finds a configuration by name.
    pub(super) fn named(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|configuration| configuration.to_string() == name)
            .with_context(|| format!("no configuration is called {name}"))
    }

    pub(crate) const fn is_paravane(self) -> bool {
        matches!(self, Self::ParavaneDom0 | Self::ParavaneGuest)
    }

    /// The Xen configuration that a Paravane configuration is compared with.
    pub(super) const fn rival(self) -> Option<Self> {
        match self {
            Self::ParavaneDom0 => Some(Self::XenDom0),
            Self::ParavaneGuest => Some(Self::XenGuest),
            Self::Bare | Self::XenDom0 | Self::XenGuest => None,
        }
    }

    /// The role of the kernel in this configuration.
    pub(super) const fn role(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::XenDom0 | Self::ParavaneDom0 => "dom0",
            Self::XenGuest | Self::ParavaneGuest => "guest",
        }
    }

    pub(super) fn host(self) -> Result<Host> {
        Ok(match self {
            Self::Bare => Host::Bare,
            Self::XenDom0 | Self::XenGuest => Host::named(Some("xen"))?,
            Self::ParavaneDom0 | Self::ParavaneGuest => Host::named(None)?,
        })
    }

    /// Boots the kernel with a ramdisk and without a control domain. The caller follows the
    /// session.
    pub(crate) fn boot(self, defences: Defences, ramdisk: Ramdisk, arguments: Vec<String>) -> Result<machine::Booted> {
        let host = self.host()?;
        let initial = matches!(self, Self::XenDom0 | Self::ParavaneDom0);
        let guest = GuestModule {
            name: if initial { INITIAL } else { "bench" }.into(),
            memory: MEMORY,
            vcpus: 1,
            kernel: "vmlinuz".into(),
            ramdisk: Some("ramdisk".into()),
            command_line: command_line(&host),
        };
        let load = if initial { Load::Initial(guest) } else { Load::Guests(vec![guest]) };
        let files = vec![
            ("vmlinuz", Contents::File(kernels::named("debian12")?)),
            ("ramdisk", Contents::Bytes(ramdisk.finish()?)),
        ];
        let mut setup = self.setup(defences, &host, load, files, HOST_MEMORY);
        setup.arguments.extend(arguments);
        setup.boot(&machine::log_file("bench-logs", &self.to_string())?)
    }

    /// The machine on which instructions are counted, the same for all configurations.
    pub(super) fn setup<'a>(
        self,
        defences: Defences,
        host: &'a Host,
        load: Load,
        files: Vec<(&'a str, Contents)>,
        memory: Size,
    ) -> Setup<'a> {
        Setup {
            host,
            accelerator: Accelerator::Tcg,
            cpu: None,
            cpus: 1,
            memory,
            load,
            disks: Vec::new(),
            files,
            options: defences.options().into(),
            raw: false,
            limits: Limits { boot: Some(TIME), whole: Some(TIME), end: END_TIME },
            arguments: COUNTED.map(String::from).to_vec(),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Bare => "bare",
            Self::XenDom0 => "xen-dom0",
            Self::XenGuest => "xen-guest",
            Self::ParavaneDom0 => "paravane-dom0",
            Self::ParavaneGuest => "paravane-guest",
        })
    }
}

/// The kernel's command line. It differs between configurations only in the console, and in the
/// memory limit on the bare machine; everything random is switched off.
pub(super) fn command_line(host: &Host) -> String {
    let memory = if matches!(host, Host::Bare) { format!(" mem={MEMORY}") } else { String::new() };
    format!("console={} hostname=bench quiet mitigations=off nokaslr norandmaps{memory}", host.console())
}
