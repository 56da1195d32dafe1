//! A disk image with its partitions mounted, so that programs can run in it as their root.

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

/// The host's file systems that programs in the image need.
const BOUND: [&str; 2] = ["proc", "sys"];

/// The host's devices that they need.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Attached images by loop device, with their mount points. The lock is held while an image is
/// attached, mounted or detached, so its holder sees a consistent state.
static ATTACHED: Mutex<Attached> = Mutex::new(Attached::new());

type Attached = BTreeMap<String, PathBuf>;

/// A mounted image; everything is unmounted on drop.
#[derive(Debug)]
pub(super) struct Mounted {
    device: String,
    folder: TempDir,
    closed: bool,
}

/// Detaches all images of a process that is about to exit. The lock is kept, so no image is
/// attached afterwards.
pub(crate) fn detach_all() {
    let attached = lock();
    for (device, folder) in attached.iter() {
        // Programs in the image may still run; the kernel detaches both when they exit.
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

/// Unmounts everything in `folder` and detaches the loop device.
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
    /// Mounts a complete image, ready to run programs in it.
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

    /// Creates a `/dev` with the few devices that are needed, and the root's name by UUID, which
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

    /// Creates the file systems of a partitioned image with the contents of `root`, and mounts it.
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
        // Some kernels cannot read partition tables themselves. With `--partscan` all of them
        // forget the partitions later.
        command::quiet(Command::new("partx").args(["--update", &mounted.device]))?;
        Ok(mounted)
    }

    /// The disk's device.
    pub(super) fn device(&self) -> String {
        self.device.clone()
    }

    /// Path on the host of `path` in the image.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// UUID of the root file system.
    pub(super) fn uuid(&self) -> Result<String> {
        let output = command::quiet(Command::new("blkid").args(["-s", "UUID", "-o", "value", &self.partition(ROOT)]))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().into())
    }

    /// Copies a file of the image to the firmware's partition, to the path that UEFI tries on an
    /// unknown disk.
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

    /// Unmounts everything; an error reports that something is still in use.
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
