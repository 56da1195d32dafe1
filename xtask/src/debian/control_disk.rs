//! The control domain's disk: a Debian 12 made by mmdebstrap, with the stock Xen tools and the
//! stock kernel's modules, on an ext4 file system without partitions. Nothing of Debian is changed.
//! What a run adds comes with the ramdisk.
//!
//! A disk is kept under `target/cache/control-domain/` by a key that stands for its recipe: another
//! recipe makes another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::debian::kernels::KERNELS;
use crate::debian::ramdisk::Ramdisk;
use crate::debian::system;
use crate::foundation::progress::Step;
use crate::foundation::size::Size;
use crate::foundation::{command, workspace};

const RELEASE: &str = "bookworm";

/// What the control domain has beside mmdebstrap's smallest Debian.
const PACKAGES: [&str; 11] = [
    "xen-utils-4.17",
    "xenstore-utils",
    "grub-xen-host",
    "iproute2",
    "bridge-utils",
    "iputils-ping",
    "netcat-openbsd",
    "kmod",
    "e2fsprogs",
    "procps",
    "pciutils",
];

/// The modules with which a guest uses what the control domain gives it.
const GUEST_MODULES: [&str; 4] = ["xen-blkfront", "xen-netfront", "crc32c_generic", "ext4"];

/// The disk as the control domain sees it; the file has holes where nothing is written.
const SIZE: Size = Size::mib(6 << 10);

/// Raised when something of the way a disk is made changes that the lists above do not show.
const VERSION: u32 = 2;

/// A disk that is there, and what of it the boot needs.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Raw, with the file system from the first byte on.
    pub(crate) image: PathBuf,
    pub(crate) kernel: PathBuf,
    /// The kernel's modules: the folder with `modules.dep`.
    pub(crate) modules: PathBuf,
}

impl Disk {
    /// The disk of today's recipe with these packages besides; made if it is not there yet.
    pub(crate) fn prepared(more_packages: &[&str]) -> Result<Self> {
        let packages = [&PACKAGES, more_packages].concat();
        let folder = folder(&packages)?;
        if !folder.is_dir() {
            make(&folder, &packages)?;
        }
        let boot = fs::read_dir(folder.join("modules"))?.filter_map(|entry| Some(entry.ok()?.path()));
        let modules = boot.last().with_context(|| format!("{} has no modules", folder.display()))?;
        Ok(Self { image: folder.join("disk.img"), kernel: folder.join("vmlinuz"), modules })
    }
}

impl Disk {
    /// Whether it is there already, or can be made since we are root.
    pub(crate) fn is_at_hand() -> Result<bool> {
        Ok(rustix::process::geteuid().is_root() || folder(&PACKAGES)?.is_dir())
    }

    /// The ramdisk of a small guest with this disk's kernel.
    pub(crate) fn guest_ramdisk(&self) -> Result<Vec<u8>> {
        let mut ramdisk = Ramdisk::bootable()?;
        self.guest_modules(&mut ramdisk)?;
        ramdisk.finish()
    }

    /// Adds the modules with which a guest uses what the control domain gives it.
    pub(crate) fn guest_modules(&self, ramdisk: &mut Ramdisk) -> Result<()> {
        ramdisk.modules(&self.modules, &GUEST_MODULES)
    }

    /// Kernel and ramdisk of small guests, for the control domain's folder of this run.
    pub(crate) fn guest_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let kernel = fs::read(&self.kernel).with_context(|| format!("cannot read {}", self.kernel.display()))?;
        Ok(vec![("vmlinuz".into(), kernel), ("guest.ramdisk".into(), self.guest_ramdisk()?)])
    }
}

/// Where the disk of today's recipe with these packages lies.
fn folder(packages: &[&str]) -> Result<PathBuf> {
    let key = system::key(&(VERSION, RELEASE, packages, SIZE.in_mib(), KERNELS[0].package_name()?));
    Ok(workspace::cache("control-domain")?.join(key))
}

/// Makes the disk and puts it at `folder`.
fn make(folder: &Path, packages: &[&str]) -> Result<()> {
    let kernel = &KERNELS[0];
    let parent = workspace::cache("control-domain")?;
    let scratch = tempfile::Builder::new().prefix(".make").tempdir_in(&parent)?;
    let (root, fresh) = (scratch.path().join("root"), scratch.path().join("fresh"));
    fs::create_dir(&fresh)?;
    let vmlinuz = kernel.file()?;
    system::install(RELEASE, packages, &root, "the control domain's disk")
        .context("without its disk there is no control domain ('run --direct' needs none)")?;
    let _step = Step::start("writing the control domain's disk");
    let package = kernel.unpacked()?;
    command::quiet(Command::new("cp").arg("-a").arg(package.join("lib/modules")).arg(root.join("lib")))?;
    command::quiet(Command::new("cp").arg("-a").args([package.join("boot"), root.clone()]))?;
    let version = kernel_version(&root.join("lib/modules"))?;
    system::run(&root, &["depmod", &version])?;
    fs::write(root.join("etc/hostname"), "control\n")?;
    // What guests print is kept in /var/log/xen/console.
    fs::write(root.join("etc/default/xen"), "XENCONSOLED_ARGS=--log=guest\n")?;
    fs::write(root.join("etc/fstab"), "/dev/sda / ext4 errors=remount-ro 0 1\n")?;
    command::quiet(Command::new("cp").args(["-aL"]).arg(&vmlinuz).arg(fresh.join("vmlinuz")))?;
    command::quiet(Command::new("cp").arg("-a").arg(root.join("lib/modules")).arg(fresh.join("modules")))?;
    system::ext4(&root, &fresh.join("disk.img"), SIZE, "control")?;
    // Another run may have made the same disk meanwhile: it is as good.
    if fs::rename(&fresh, folder).is_err() && !folder.is_dir() {
        bail!("cannot put the control domain's disk at {}", folder.display());
    }
    Ok(())
}

/// The one kernel version that has a folder in `modules`.
fn kernel_version(modules: &Path) -> Result<String> {
    let entry = fs::read_dir(modules)?.next().with_context(|| format!("{} is empty", modules.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}
