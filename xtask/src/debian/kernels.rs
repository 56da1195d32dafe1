//! Stock guest kernels and their files, which are downloaded when they are needed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::debian::packages::Release;

/// A distribution's kernel package.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Name for `--kernel` and `--only`.
    pub(crate) name: &'static str,
    release: &'static str,
    package: &'static str,
    /// The same source as another kernel of the list, with another configuration.
    pub(crate) is_variant: bool,
    /// A real-time kernel preempts a process in the middle of an exec, which a paravirtualised
    /// kernel does not survive (docs/known-problems.md). Programs that have to complete run
    /// unpreempted there.
    pub(crate) is_real_time: bool,
}

/// The kernels that are tested. The first is the default of `run`.
pub(crate) const KERNELS: [Kernel; 4] = [
    kernel("debian12", "bookworm", "linux-image-amd64"),
    Kernel { is_variant: true, ..kernel("debian12-cloud", "bookworm", "linux-image-cloud-amd64") },
    Kernel { is_variant: true, is_real_time: true, ..kernel("debian12-rt", "bookworm", "linux-image-rt-amd64") },
    kernel("debian13", "trixie", "linux-image-amd64"),
];

const fn kernel(name: &'static str, release: &'static str, package: &'static str) -> Kernel {
    Kernel { name, release, package, is_variant: false, is_real_time: false }
}

impl Kernel {
    /// Name of the package with the kernel itself: the newest of the release.
    pub(crate) fn package_name(&self) -> Result<String> {
        Release::open(self.release)?
            .dependencies(self.package)?
            .into_iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("{} of Debian {} names no kernel", self.package, self.release))
    }

    /// The folder with the unpacked package, which is downloaded if necessary.
    pub(crate) fn unpacked(&self) -> Result<PathBuf> {
        Release::open(self.release)?.unpacked(&self.package_name()?)
    }

    /// The kernel's `vmlinuz`, which is downloaded if necessary.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        let package = self.unpacked()?;
        let boot = package.join("boot");
        fs::read_dir(&boot)
            .with_context(|| format!("the kernel package has no {}", boot.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
            .with_context(|| format!("{} has no vmlinuz", boot.display()))
    }
}

/// The file for a value of `--kernel`: the name of a stock kernel, or a path.
pub(crate) fn named(text: &str) -> Result<PathBuf> {
    if let Some(kernel) = KERNELS.iter().find(|kernel| kernel.name == text) {
        return kernel.file();
    }
    let path = PathBuf::from(text);
    fs::metadata(&path).with_context(|| {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        format!("no kernel file {text} (known by name: {})", names.join(", "))
    })?;
    Ok(path)
}
