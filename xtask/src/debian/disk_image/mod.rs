//! The disk image of `cargo xtask image`: an ordinary Debian 12 with the package installed,
//! bootable by BIOS and by UEFI.
//!
//! Debian without the package is built once and kept under `target/cache/`. Each image is a copy,
//! on which apt installs the package of the current build.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artefacts::package;
use crate::debian::control_disk::Disk;
use crate::debian::system;
use crate::foundation::progress::Step;
use crate::foundation::size::Size;
use crate::foundation::{command, tools, workspace};

mod mounted;

use mounted::Mounted;
pub(crate) use mounted::detach_all;

/// Packages beyond mmdebstrap's minimal Debian.
const PACKAGES: [&str; 15] = [
    "systemd-sysv",
    "udev",
    "linux-image-amd64",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "grub2-common",
    "xen-utils-4.17",
    "xenstore-utils",
    "grub-xen-host",
    "bridge-utils",
    "ifupdown",
    "isc-dhcp-client",
    "iproute2",
    "iputils-ping",
    "procps",
];

/// Size of the image. The file is sparse.
const SIZE: Size = Size::mib(4 << 10);

/// Input of sfdisk: a partition for GRUB under BIOS, one for UEFI, and the root.
const PARTITIONS: &str = "label: gpt\n\
    size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n\
    size=63MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
    type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n";

/// Configuration files, by path.
const FILES: [(&str, &str); 5] = [
    // As written by Debian's installer.
    ("etc/default/grub", "GRUB_DEFAULT=0\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"),
    ("etc/default/grub.d/serial.cfg", include_str!("../../../installed/serial.cfg")),
    ("etc/network/interfaces", include_str!("../../../installed/interfaces")),
    ("etc/motd", include_str!("../../../installed/motd")),
    ("etc/default/xen", "XENCONSOLED_ARGS=--log=guest\n"),
];

/// The demo guest, which starts with the machine.
const DEMO: &str = include_str!("../../../controldomain/demo.cfg");

/// Size of the demo guest's disk.
const DEMO_DISK: Size = Size::mib(64);

/// Increment this when the base image changes in a way that the constants above do not show.
const VERSION: u32 = 2;

/// Builds `target/paravane-disk.img` and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    let package = package::build()?;
    let base = base()?;
    let image = workspace::target().join("paravane-disk.img");
    let fresh = image.with_extension("new");
    let _step = Step::start("installing the package on the disk");
    command::quiet(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).args([&base, &fresh]))?;
    let mounted = Mounted::new(&fresh)?;
    fs::copy(&package, mounted.path("root/paravane.deb"))?;
    mounted.run(&["apt-get", "install", "--yes", "/root/paravane.deb"])?;
    fs::remove_file(mounted.path("root/paravane.deb"))?;
    add_demo(&mounted)?;
    mounted.close()?;
    fs::rename(&fresh, &image)?;
    Ok(image)
}

/// Adds the demo guest, with the ramdisk that tests use.
fn add_demo(mounted: &Mounted) -> Result<()> {
    put(&mounted.path("etc/xen/demo.cfg"), DEMO.as_bytes())?;
    put(&mounted.path("srv/demo/guest.ramdisk"), &Disk::prepared(&[])?.guest_ramdisk()?)?;
    let empty = tempfile::tempdir()?;
    system::ext4(empty.path(), &mounted.path("srv/demo/disk.img"), DEMO_DISK, "demo")?;
    symlink("/vmlinuz", mounted.path("srv/demo/vmlinuz"))?;
    // Debian's /etc/init.d/xendomains starts the guests in this folder.
    workspace::made(mounted.path("etc/xen/auto"))?;
    Ok(symlink("../demo.cfg", mounted.path("etc/xen/auto/demo.cfg"))?)
}

/// Returns the disk with Debian alone, and builds it if it does not exist.
fn base() -> Result<PathBuf> {
    let key = system::key(&(VERSION, PACKAGES, SIZE.in_mib(), PARTITIONS, FILES));
    let base = workspace::cache("installed")?.join(format!("{key}.img"));
    if base.exists() {
        return Ok(base);
    }
    for (program, package) in [
        ("sfdisk", "fdisk"),
        ("mkfs.ext4", "e2fsprogs"),
        ("mkfs.vfat", "dosfstools"),
        ("mcopy", "mtools"),
        ("losetup", "mount"),
    ] {
        tools::need_program(program, package)?;
    }
    let scratch = tempfile::Builder::new().prefix(".make").tempdir_in(workspace::cache("installed")?)?;
    let (fresh, root) = (scratch.path().join("disk.img"), scratch.path().join("root"));
    system::install("bookworm", &PACKAGES, &root, "the disk image")?;
    let _step = Step::start("making the disk image bootable");
    for (path, text) in FILES {
        put(&root.join(path), text.as_bytes())?;
    }
    put(&root.join("etc/hostname"), b"paravane\n")?;
    put(&root.join("etc/hosts"), b"127.0.0.1 localhost paravane\n")?;
    fs::File::create(&fresh)?.set_len(SIZE.in_mib() << 20)?;
    let script = tempfile::NamedTempFile::new()?;
    fs::write(script.path(), PARTITIONS)?;
    command::quiet(Command::new("sfdisk").arg("--quiet").arg(&fresh).stdin(script.reopen()?))?;
    let mounted = Mounted::formatted(&fresh, &root)?;
    let uuid = mounted.uuid()?;
    put(&mounted.path("etc/fstab"), format!("UUID={uuid} / ext4 errors=remount-ro 0 1\n").as_bytes())?;
    mounted.run(&["passwd", "--delete", "root"])?;
    mounted.run(&["grub-install", "--target=i386-pc", &mounted.device()])?;
    boot_by_uefi(&mounted, &uuid)?;
    mounted.run(&["update-grub"])?;
    mounted.close()?;
    fs::rename(&fresh, &base)?;
    Ok(base)
}

/// Installs GRUB for UEFI without mounting the firmware's partition, which grub-install would do:
/// some kernels lack its file system.
fn boot_by_uefi(mounted: &Mounted, uuid: &str) -> Result<()> {
    const LOADER: &str = "boot/grub/bootx64.efi";
    const FIRST: &str = "boot/grub/first.cfg";
    command::quiet(
        Command::new("cp").arg("-r").arg(mounted.path("usr/lib/grub/x86_64-efi")).arg(mounted.path("boot/grub")),
    )?;
    put(&mounted.path(FIRST), format!("search.fs_uuid {uuid} root\nset prefix=($root)/boot/grub\n").as_bytes())?;
    let (loader, first) = (format!("/{LOADER}"), format!("/{FIRST}"));
    let image = ["grub-mkimage", "--format=x86_64-efi", "--prefix=/boot/grub", "--output", &loader, "--config", &first];
    mounted.run(&[&image[..], &["part_gpt", "ext2", "search_fs_uuid", "normal"]].concat())?;
    mounted.boot_by_uefi(LOADER)
}

fn put(path: &Path, contents: &[u8]) -> Result<()> {
    workspace::made(path.parent().map(Path::to_owned).unwrap_or_default())?;
    fs::write(path, contents).with_context(|| format!("cannot write {}", path.display()))
}
