//! Installs a Debian system: mmdebstrap's minimal system with additional packages, and a file
//! system with its contents.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::debian::packages::Release;
use crate::foundation::command;
use crate::foundation::progress::Step;
use crate::foundation::size::Size;
use crate::foundation::tools;

/// Hash of a recipe, used as a name. If the standard library changes its hash function, everything
/// is built again.
pub(crate) fn key(recipe: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Installs `release` with `more` packages into the folder `root`; `what` names the result in
/// messages.
pub(crate) fn install(release: &'static str, more: &[&str], root: &Path, what: &str) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "{what} is made as root, once: run this as root");
    tools::need_program("mmdebstrap", "mmdebstrap")?;
    let sources = Release::open(release)?.source_list();
    let _step = Step::start(format!("installing Debian for {what} (once, some minutes)"));
    command::quiet(
        Command::new("mmdebstrap")
            .args(["--mode=root", "--variant=minbase", "--quiet"])
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg(format!("--include={}", more.join(",")))
            .arg(release)
            .args([root, &sources]),
    )?;
    Ok(())
}

/// Runs a program of the system in `root`.
pub(crate) fn run(root: &Path, words: &[&str]) -> Result<()> {
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command::quiet(&mut command).map(drop)
}

/// Creates the raw image `image`: an ext4 file system without a partition table, with the contents
/// of `root`. The file is sparse.
pub(crate) fn ext4(root: &Path, image: &Path, size: Size, label: &str) -> Result<()> {
    tools::need_program("mkfs.ext4", "e2fsprogs")?;
    File::create(image)?.set_len(size.in_mib() << 20)?;
    command::quiet(Command::new("mkfs.ext4").args(["-q", "-F", "-L", label, "-d"]).args([root, image])).map(drop)
}
