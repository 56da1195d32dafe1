//! A disk image with its partitions mounted, so that programs can run on it as if it were the root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::debian::system;
use crate::foundation::command;

const FIRMWARE: u32 = 2;
const ROOT: u32 = 3;

/// What of the machine's own file systems programs on the image need.
const BOUND: [&str; 2] = ["proc", "sys"];

/// What of its devices.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What is attached now, by its loop device, and where it is mounted. Locked while something is
/// attached, mounted or detached, so that whoever has the lock sees all of it.
static ATTACHED: Mutex<Attached> = Mutex::new(Attached::new());

type Attached = BTreeMap<String, PathBuf>;

/// The image; everything is unmounted on drop, too.
#[derive(Debug)]
pub(super) struct Mounted {
    device: String,
    folder: TempDir,
    closed: bool,
}

/// Detaches all images, for a process that is about to end: from now on none is attached any more.
pub(crate) fn detach_all() {
    let attached = lock();
    for (device, folder) in attached.iter() {
        // Programs on the image may still run; once they have ended, the kernel lets go of both.
        if let Err(error) = detach(device, folder, &["--lazy"]) {
            eprintln!("warning: {device} is still in use: {error:#}");
        }
        let _ = std::fs::remove_dir(folder);
    }
    std::mem::forget(attached);
}

fn lock() -> MutexGuard<'static, Attached> {
    ATTACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unmounts what is mounted in `folder` and gives the loop device back.
fn detach(device: &str, folder: &Path, options: &[&str]) -> Result<()> {
    let mounted = command::quiet(Command::new("mountpoint").arg("--quiet").arg(folder)).is_ok();
    let unmounted = if mounted {
        command::quiet(Command::new("umount").arg("--recursive").args(options).arg(folder)).map(drop)
    } else {
        Ok(())
    };
    command::quiet(Command::new("losetup").args(["--detach", device]))?;
    unmounted
}

impl Mounted {
    /// Mounts an image that is whole, ready to run programs on it.
    pub(super) fn new(image: &Path) -> Result<Self> {
        let mounted = Self::attached(image)?;
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&self) -> Result<()> {
        let _attached = lock();
        command::quiet(Command::new("mount").arg(self.partition(ROOT)).arg(self.path("")))?;
        for name in BOUND {
            command::quiet(Command::new("mount").args(["--bind", &format!("/{name}")]).arg(self.path(name)))?;
        }
        self.devices()
    }

    /// A `/dev` with the few devices that are needed, and with the root's name by UUID, which
    /// update-grub looks for.
    fn devices(&self) -> Result<()> {
        let folder = self.path("dev");
        command::quiet(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "dev"]).arg(&folder))?;
        let nodes = DEVICES.iter().map(|name| format!("/dev/{name}"));
        let nodes = nodes.chain([self.device.clone(), self.partition(FIRMWARE), self.partition(ROOT)]);
        command::quiet(Command::new("cp").arg("-a").args(nodes).arg(&folder))?;
        let names = self.path("dev/disk/by-uuid");
        std::fs::create_dir_all(&names)?;
        std::os::unix::fs::symlink(self.partition(ROOT), names.join(self.uuid()?))?;
        Ok(())
    }

    /// Makes the file systems of a partitioned image, with what is in `root`, and mounts it.
    pub(super) fn formatted(image: &Path, root: &Path) -> Result<Self> {
        let attached = Self::attached(image)?;
        command::quiet(Command::new("mkfs.vfat").args(["-n", "FIRMWARE", &attached.partition(FIRMWARE)]))?;
        let mut format = Command::new("mkfs.ext4");
        command::quiet(format.args(["-q", "-F", "-L", "root", "-d"]).arg(root).arg(attached.partition(ROOT)))?;
        attached.close()?;
        Self::new(image)
    }

    fn attached(image: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mounted").tempdir()?;
        let mounted = {
            let mut attached = lock();
            let output = command::quiet(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(image))
                .context("a disk image is mounted by loop devices, which do not work here")?;
            let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            attached.insert(device.clone(), folder.path().into());
            Self { device, folder, closed: false }
        };
        // Some kernels cannot read partition tables themselves. With `--partscan` all forget the
        // partitions in the end.
        command::quiet(Command::new("partx").args(["--update", &mounted.device]))?;
        Ok(mounted)
    }

    /// The disk's device.
    pub(super) fn device(&self) -> String {
        self.device.clone()
    }

    /// Where `path` of the image is now.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The root file system's UUID.
    pub(super) fn uuid(&self) -> Result<String> {
        let output = command::quiet(Command::new("blkid").args(["-s", "UUID", "-o", "value", &self.partition(ROOT)]))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().into())
    }

    /// Puts a file of the image onto the firmware's partition, where UEFI looks on a disk that it
    /// does not know.
    pub(super) fn boot_by_uefi(&self, loader: &str) -> Result<()> {
        let firmware = self.partition(FIRMWARE);
        command::quiet(Command::new("mmd").args(["-i", &firmware, "::EFI", "::EFI/BOOT"]))?;
        let mut copy = Command::new("mcopy");
        command::quiet(copy.args(["-i", &firmware]).arg(self.path(loader)).arg("::EFI/BOOT/BOOTX64.EFI"))?;
        Ok(())
    }

    /// Runs a program of the image.
    pub(super) fn run(&self, words: &[&str]) -> Result<()> {
        system::run(&self.path(""), words)
    }

    /// Unmounts everything; an error says that something is still in use.
    pub(super) fn close(mut self) -> Result<()> {
        self.closed = true;
        self.detach()
    }

    fn detach(&self) -> Result<()> {
        let mut attached = lock();
        attached.remove(&self.device);
        detach(&self.device, self.folder.path(), &[])
    }

    fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.closed
            && let Err(error) = self.detach()
        {
            eprintln!("warning: {} is still in use: {error:#}", self.device);
        }
    }
}
