//! The host of a machine that xtask boots: Paravane, another Multiboot hypervisor for comparison,
//! or none.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::artefacts::hypervisor;
use crate::debian::packages::Release;
use crate::foundation::size::Size;
use crate::foundation::workspace;
use crate::virtual_machine::qemu::Module;

/// Options that make a hypervisor use the serial line.
const SERIAL: &str = "console=com1 com1=115200,8n1";

/// What runs below the guests.
#[derive(Clone, Debug)]
pub(crate) enum Host {
    /// Paravane with unprivileged guests.
    Paravane(PathBuf),
    /// Another hypervisor; the guest is its initial domain.
    Other(PathBuf),
    /// No hypervisor: the kernel runs on the machine itself.
    Bare,
}

/// The guests that are started from boot modules.
#[derive(Clone, Debug)]
pub(crate) enum Load {
    /// Unprivileged guests; on another hypervisor a single one, as initial domain.
    Guests(Vec<GuestModule>),
    /// The initial domain.
    Initial(GuestModule),
}

/// One guest as described by boot modules.
#[derive(Clone, Debug)]
pub(crate) struct GuestModule {
    pub(crate) name: String,
    pub(crate) memory: Size,
    pub(crate) vcpus: u32,
    pub(crate) kernel: String,
    pub(crate) ramdisk: Option<String>,
    pub(crate) command_line: String,
}

impl Host {
    /// The host for a value of `--hypervisor`: by default Paravane, which is built; `xen` is
    /// Debian's Xen; `none` is the bare machine.
    pub(crate) fn named(hypervisor: Option<&str>) -> Result<Self> {
        match hypervisor {
            None => Ok(Self::Paravane(hypervisor::build()?)),
            Some("none") => Ok(Self::Bare),
            Some("xen") => Ok(Self::Other(xen()?)),
            Some(file) => {
                let path = PathBuf::from(file);
                fs::metadata(&path).with_context(|| format!("no hypervisor file {file}"))?;
                Ok(Self::Other(path.canonicalize()?))
            }
        }
    }

    pub(crate) const fn is_paravane(&self) -> bool {
        matches!(self, Self::Paravane(_))
    }

    /// Whether the guest's console is the serial line itself, without a prefix on its lines.
    pub(crate) const fn is_console_alone(&self) -> bool {
        !self.is_paravane()
    }

    /// The console device for a guest's kernel command line.
    pub(crate) const fn console(&self) -> &'static str {
        if matches!(self, Self::Bare) { "ttyS0,115200" } else { "hvc0" }
    }

    /// What QEMU boots for this load: image, command line, and modules.
    pub(crate) fn boot(&self, load: &Load, options: &str) -> Result<(PathBuf, String, Vec<Module>)> {
        let mut modules = Vec::new();
        match (self, load) {
            (Self::Paravane(image), Load::Guests(guests)) => {
                for guest in guests {
                    let GuestModule { name, memory, vcpus, command_line, .. } = guest;
                    let arguments = format!("guest name={name} memory={memory} vcpus={vcpus} -- {command_line}");
                    modules.push(Module { file: guest.kernel.clone(), arguments });
                    modules.extend(guest.ramdisk_module("ramdisk"));
                }
                Ok((image.clone(), format!("{SERIAL} {options}").trim_end().into(), modules))
            }
            (Self::Paravane(image) | Self::Other(image), _) => {
                let domain = load.only()?;
                modules.push(Module { file: domain.kernel.clone(), arguments: domain.command_line.clone() });
                modules.extend(domain.ramdisk_module(""));
                let GuestModule { memory, vcpus, .. } = domain;
                let memory = match load {
                    Load::Initial(_) => format!("dom0_mem={memory},max:{memory} "),
                    Load::Guests(_) => String::new(),
                };
                let line = format!("{SERIAL} {memory}dom0_max_vcpus={vcpus} {options}");
                Ok((image.clone(), line.trim_end().into(), modules))
            }
            (Self::Bare, _) => {
                let guest = load.only()?;
                modules.extend(guest.ramdisk_module(""));
                Ok((PathBuf::from(&guest.kernel), guest.command_line.clone(), modules))
            }
        }
    }
}

impl Load {
    /// All guests.
    pub(crate) fn all(&self) -> &[GuestModule] {
        match self {
            Self::Guests(guests) => guests,
            Self::Initial(domain) => std::slice::from_ref(domain),
        }
    }

    fn only(&self) -> Result<&GuestModule> {
        match self.all() {
            [guest] => Ok(guest),
            _ => bail!("only Paravane starts several guests: leave out --guests or --hypervisor"),
        }
    }
}

impl GuestModule {
    /// Its ramdisk as a boot module.
    fn ramdisk_module(&self, arguments: &str) -> Option<Module> {
        self.ramdisk.as_ref().map(|file| Module { file: file.clone(), arguments: arguments.into() })
    }
}

/// Debian's Xen, decompressed for QEMU.
fn xen() -> Result<PathBuf> {
    let unpacked = workspace::cache("hypervisors")?.join("xen-4.17");
    if unpacked.exists() {
        return Ok(unpacked);
    }
    let package = Release::open("bookworm")?.unpacked("xen-hypervisor-4.17-amd64")?;
    let fresh = unpacked.with_extension("new");
    let status = Command::new("gzip")
        .arg("-dc")
        .stdin(File::open(package.join("boot/xen-4.17-amd64.gz")).context("the package has no Xen image")?)
        .stdout(Stdio::from(File::create(&fresh)?))
        .status()
        .context("cannot start gzip")?;
    if !status.success() {
        bail!("gzip could not unpack Xen");
    }
    fs::rename(&fresh, &unpacked)?;
    Ok(unpacked)
}
