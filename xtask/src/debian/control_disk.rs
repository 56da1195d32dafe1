//! The control domain's disk: Debian 12 installed by mmdebstrap, with the stock Xen tools and the
//! stock kernel's modules, on an ext4 file system without a partition table. Debian itself is not
//! changed; what a run adds is in the ramdisk.
//!
//! Disks are kept under `target/cache/control-domain/`, named by a hash of their recipe.

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

/// Packages beyond mmdebstrap's minimal Debian.
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

/// Package of the ssh server. A disk with it has the keys for logins between its hosts.
const SSH_SERVER: &str = "openssh-server";

/// Modules that a guest needs for the disk and network of the control domain.
const GUEST_MODULES: [&str; 4] = ["xen-blkfront", "xen-netfront", "crc32c_generic", "ext4"];

/// Size of the disk. The file is sparse.
const SIZE: Size = Size::mib(6 << 10);

/// Increment this when the recipe changes in a way that the constants above do not show.
const VERSION: u32 = 2;

/// A disk that exists, and the parts of it that a boot needs.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// A raw image that starts with the file system.
    pub(crate) image: PathBuf,
    pub(crate) kernel: PathBuf,
    /// The kernel's modules: the folder that has `modules.dep`.
    pub(crate) modules: PathBuf,
}

impl Disk {
    /// Returns the disk of the current recipe with these additional packages, and builds it if it
    /// does not exist.
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
    /// Whether the disk exists or can be built, which needs root.
    pub(crate) fn is_at_hand() -> Result<bool> {
        Ok(rustix::process::geteuid().is_root() || folder(&PACKAGES)?.is_dir())
    }

    /// Builds the ramdisk of a small guest with this disk's kernel.
    pub(crate) fn guest_ramdisk(&self) -> Result<Vec<u8>> {
        let mut ramdisk = Ramdisk::bootable()?;
        self.guest_modules(&mut ramdisk)?;
        ramdisk.finish()
    }

    /// Adds the modules that a guest needs for the disk and network of the control domain.
    pub(crate) fn guest_modules(&self, ramdisk: &mut Ramdisk) -> Result<()> {
        ramdisk.modules(&self.modules, &GUEST_MODULES)
    }

    /// Kernel and ramdisk of small guests, to be files of this run in the control domain.
    pub(crate) fn guest_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let kernel = fs::read(&self.kernel).with_context(|| format!("cannot read {}", self.kernel.display()))?;
        Ok(vec![("vmlinuz".into(), kernel), ("guest.ramdisk".into(), self.guest_ramdisk()?)])
    }
}

/// Path of the disk of the current recipe with these packages.
fn folder(packages: &[&str]) -> Result<PathBuf> {
    let key = system::key(&(VERSION, RELEASE, packages, SIZE.in_mib(), KERNELS[0].package_name()?));
    Ok(workspace::cache("control-domain")?.join(key))
}

/// Builds the disk and moves it to `folder`.
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
    // Guest console output is kept in /var/log/xen/console.
    fs::write(root.join("etc/default/xen"), "XENCONSOLED_ARGS=--log=guest\n")?;
    fs::write(root.join("etc/fstab"), "/dev/sda / ext4 errors=remount-ro 0 1\n")?;
    if packages.contains(&SSH_SERVER) {
        allow_logins(&root)?;
    }
    command::quiet(Command::new("cp").args(["-aL"]).arg(&vmlinuz).arg(fresh.join("vmlinuz")))?;
    command::quiet(Command::new("cp").arg("-a").arg(root.join("lib/modules")).arg(fresh.join("modules")))?;
    system::ext4(&root, &fresh.join("disk.img"), SIZE, "control")?;
    // If another run built the same disk in the meantime, that one is used.
    if fs::rename(&fresh, folder).is_err() && !folder.is_dir() {
        bail!("cannot put the control domain's disk at {}", folder.display());
    }
    Ok(())
}

/// Lets root log in by ssh, without a password, from any host that runs from the same disk.
fn allow_logins(root: &Path) -> Result<()> {
    const KEY: &str = "/root/.ssh/id_ed25519";
    system::run(root, &["mkdir", "-p", "-m", "700", "/root/.ssh"])?;
    system::run(root, &["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY])?;
    system::run(root, &["cp", &format!("{KEY}.pub"), "/root/.ssh/authorized_keys"])?;
    let host_key = fs::read_to_string(root.join("etc/ssh/ssh_host_ed25519_key.pub"))?;
    Ok(fs::write(root.join("etc/ssh/ssh_known_hosts"), format!("* {host_key}"))?)
}

/// The kernel version that has a folder in `modules`.
fn kernel_version(modules: &Path) -> Result<String> {
    let entry = fs::read_dir(modules)?.next().with_context(|| format!("{} is empty", modules.display()))??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}
