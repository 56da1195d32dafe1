//! `cargo xtask image`: a disk with an ordinary Debian 12 on which the package is installed,
//! bootable by BIOS and by UEFI.
//!
//! Debian without the package is made once and kept under `target/cache/`; each image is a copy on
//! which the package of this build is installed as a person would do it.

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

/// What the system has beside mmdebstrap's smallest Debian.
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

/// The image's size; the file has holes where nothing is written.
const SIZE: Size = Size::mib(4 << 10);

/// For sfdisk: what GRUB needs under BIOS, what it needs under UEFI, and the root.
const PARTITIONS: &str = "label: gpt\n\
    size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n\
    size=63MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
    type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n";

/// Files of ours, by path.
const FILES: [(&str, &str); 5] = [
    // What the installer writes.
    ("etc/default/grub", "GRUB_DEFAULT=0\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\n"),
    ("etc/default/grub.d/serial.cfg", include_str!("../../../installed/serial.cfg")),
    ("etc/network/interfaces", include_str!("../../../installed/interfaces")),
    ("etc/motd", include_str!("../../../installed/motd")),
    ("etc/default/xen", "XENCONSOLED_ARGS=--log=guest\n"),
];

/// The demo guest, which starts with the machine.
const DEMO: &str = include_str!("../../../controldomain/demo.cfg");

/// The size of its disk.
const DEMO_DISK: Size = Size::mib(64);

/// Raised when the way the base is made changes in what the lists above do not show.
const VERSION: u32 = 2;

/// Makes `target/paravane-disk.img` and returns its path.
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

/// Adds the demo guest; it has the test bed's ramdisk.
fn add_demo(mounted: &Mounted) -> Result<()> {
    put(&mounted.path("etc/xen/demo.cfg"), DEMO.as_bytes())?;
    put(&mounted.path("srv/demo/guest.ramdisk"), &Disk::prepared(&[])?.guest_ramdisk()?)?;
    let empty = tempfile::tempdir()?;
    system::ext4(empty.path(), &mounted.path("srv/demo/disk.img"), DEMO_DISK, "demo")?;
    symlink("/vmlinuz", mounted.path("srv/demo/vmlinuz"))?;
    // Debian's /etc/init.d/xendomains starts what is here.
    workspace::made(mounted.path("etc/xen/auto"))?;
    Ok(symlink("../demo.cfg", mounted.path("etc/xen/auto/demo.cfg"))?)
}

/// The disk with Debian alone.
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

/// What grub-install would do, but without mounting the firmware's partition: not every kernel here
/// knows its file system.
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
