//! Disks of full guests: an ordinary Debian with systemd, its own kernel and ramdisk, and a
//! network, on an ext4 file system without a partition table, as an administrator would create one
//! for a Xen guest.
//!
//! Disks are kept under `target/cache/guests/`, named by a hash of their recipe.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::debian::packages::Release;
use crate::debian::system;
use crate::foundation::progress::Step;
use crate::foundation::size::Size;
use crate::foundation::workspace;

/// Packages beyond mmdebstrap's minimal Debian.
const PACKAGES: [&str; 8] = [
    "systemd-sysv",
    "udev",
    "linux-image-amd64",
    "grub2-common",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "procps",
];

/// Size of the disk. The file is sparse.
const SIZE: Size = Size::mib(4 << 10);

/// Configuration files, by path.
const FILES: [(&str, &str); 6] = [
    ("etc/fstab", "/dev/xvda / ext4 errors=remount-ro 0 1\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    ("etc/hostname", "guest\n"),
    ("etc/default/grub", "GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=console=hvc0\n"),
    ("etc/systemd/network/bridge.network", "[Match]\nType=ether\n[Network]\nAddress=10.0.0.2/24\n"),
    // An emulated machine on a busy host is slow.
    ("etc/systemd/system.conf.d/slow.conf", "[Manager]\nDefaultTimeoutStartSec=900\nDefaultDeviceTimeoutSec=900\n"),
];

/// Increment this when the recipe changes in a way that the constants above do not show.
const VERSION: u32 = 1;

/// A Debian release as a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest {
    pub(crate) name: &'static str,
    release: &'static str,
    /// Whether PV GRUB of the control domain's release can decompress its kernel: xz yes, zstd no.
    pub(crate) boots_by_grub: bool,
}

/// The guests that are tested.
pub(crate) const GUESTS: [Guest; 2] = [
    Guest { name: "debian12", release: "bookworm", boots_by_grub: true },
    Guest { name: "debian13", release: "trixie", boots_by_grub: false },
];

impl Guest {
    /// Returns its disk, a raw image that starts with the file system, and builds it if it does not
    /// exist.
    pub(crate) fn disk(&self) -> Result<PathBuf> {
        let key = system::key(&(VERSION, self.release, PACKAGES, SIZE.in_mib(), FILES));
        let folder = workspace::cache("guests")?;
        let image = folder.join(format!("{}-{key}.img", self.name));
        if image.exists() {
            return Ok(image);
        }
        let scratch = tempfile::Builder::new().prefix(".make").tempdir_in(&folder)?;
        let (root, fresh) = (scratch.path().join("root"), scratch.path().join("disk.img"));
        // Fetch the package lists before the long step begins.
        Release::open(self.release)?;
        system::install(self.release, &PACKAGES, &root, &format!("the disk of a {} guest", self.name))?;
        let _step = Step::start(format!("writing the disk of a {} guest", self.name));
        for (path, text) in FILES {
            let path = root.join(path);
            workspace::made(path.parent().map(Path::to_owned).unwrap_or_default())?;
            fs::write(path, text)?;
        }
        system::run(&root, &["systemctl", "enable", "--quiet", "systemd-networkd"])?;
        system::run(&root, &["passwd", "--quiet", "--delete", "root"])?;
        system::ext4(&root, &fresh, SIZE, self.name)?;
        fs::rename(&fresh, &image)?;
        Ok(image)
    }
}
