//! Debian packages of any release. They are downloaded and unpacked under `target/cache/`, never
//! installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::foundation::progress::Step;
use crate::foundation::{command, workspace};

/// The keys that sign Debian releases, as installed by Debian itself.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One thread at a time uses apt, and fetches a package.
static APT: Mutex<()> = Mutex::new(());

/// One Debian release, read through a private configuration of apt. Its lists are under
/// `target/cache/`, it needs no root, and it has the same versions whatever release the host runs.
#[derive(Debug)]
pub(crate) struct Release {
    codename: &'static str,
    folder: PathBuf,
}

impl Release {
    /// Opens the release called `codename`; fetches its package lists if they do not exist.
    pub(crate) fn open(codename: &'static str) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg-deb"] {
            if !command::exists(program) {
                bail!("{program} is missing: Debian packages can only be fetched on Debian and its relatives");
            }
        }
        let folder = workspace::cache("apt")?.join(codename);
        let release = Self { codename, folder };
        let _alone = APT.lock().unwrap_or_else(PoisonError::into_inner);
        if !release.folder.join("complete").exists() {
            release.fetch_lists()?;
        }
        Ok(release)
    }

    /// The packages that `package` directly depends on.
    pub(crate) fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let output = command::quiet(self.apt("apt-cache").args(["depends", "--important", package]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect())
    }

    /// Downloads and unpacks `package`; returns the folder with its files. A package is downloaded
    /// once.
    pub(crate) fn unpacked(&self, package: &str) -> Result<PathBuf> {
        let folder = workspace::cache("packages")?.join(self.codename).join(package);
        if folder.is_dir() {
            return Ok(folder);
        }
        let _alone = APT.lock().unwrap_or_else(PoisonError::into_inner);
        if folder.is_dir() {
            return Ok(folder);
        }
        let _step = Step::start(format!("fetching {package} of Debian {}", self.codename));
        let parent = workspace::made(folder.parent().map(Path::to_owned).unwrap_or_default())?;
        let scratch = tempfile::Builder::new().prefix(".fetch").tempdir_in(&parent)?;
        let download = || command::quiet(self.apt("apt-get").args(["download", package]).current_dir(scratch.path()));
        if download().is_err() {
            // The mirror has changed since the lists were fetched.
            self.fetch_lists()?;
            download().with_context(|| format!("package {package} is missing and could not be fetched"))?;
        }
        let archive = fs::read_dir(scratch.path())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download left no archive of {package}"))?;
        let files = scratch.path().join("files");
        command::quiet(Command::new("dpkg-deb").arg("-x").args([&archive, &files]))?;
        fs::rename(&files, &folder)?;
        Ok(folder)
    }

    /// The file with this release's sources in the format of sources.list.
    pub(crate) fn source_list(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    fn fetch_lists(&self) -> Result<()> {
        let _step = Step::start(format!("fetching the package lists of Debian {}", self.codename));
        for part in ["lists/partial", "archives/partial"] {
            workspace::made(self.folder.join(part))?;
        }
        fs::write(self.source_list(), self.sources()?)?;
        command::quiet(self.apt("apt-get").arg("update"))?;
        fs::write(self.folder.join("complete"), "")?;
        Ok(())
    }

    /// The sources of this release, from the mirrors that the host's apt uses.
    fn sources(&self) -> Result<String> {
        let output = command::quiet(Command::new("apt-get").args(["update", "--print-uris"]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines: Vec<String> = Vec::new();
        for (base, suite) in text.lines().filter_map(release_file) {
            let (name, suffix) = suite.split_once('-').unwrap_or((suite, ""));
            let known = ["bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing"].contains(&name);
            let wanted = match suffix {
                "" => self.codename.to_owned(),
                "security" => format!("{}-security", self.codename),
                _ => continue,
            };
            let signed =
                if Path::new(DEBIAN_KEYS).exists() { format!("[signed-by={DEBIAN_KEYS}] ") } else { String::new() };
            let line = format!("deb {signed}{base} {wanted} main\n");
            if known && !lines.contains(&line) {
                lines.push(line);
            }
        }
        if lines.is_empty() {
            bail!(
                "apt on this machine has no Debian mirror, so packages of Debian {} cannot be fetched: \
                 give the files on the command line (--kernel, --ramdisk)",
                self.codename
            );
        }
        Ok(lines.concat())
    }

    /// A command of apt with this release's configuration.
    fn apt(&self, program: &str) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".into(),
            "Dir::Etc::Preferences=/dev/null".into(),
            "Dir::Etc::PreferencesParts=/dev/null".into(),
            format!("Dir::State={folder}"),
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Cache={folder}"),
            format!("Dir::Cache::Archives={folder}/archives"),
            "APT::Architecture=amd64".into(),
            "APT::Get::List-Cleanup=0".into(),
            "APT::Sandbox::User=root".into(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// Base address and suite of a release file in the output of `apt-get update --print-uris`.
fn release_file(line: &str) -> Option<(&str, &str)> {
    let address = line.strip_prefix('\'')?.split('\'').next()?;
    address.strip_suffix("/InRelease")?.split_once("/dists/")
}

#[cfg(test)]
mod tests {
    use super::release_file;

    #[test]
    fn release_files_name_mirror_and_suite() {
        let line = "'mirror:/debian/dists/bookworm-updates/InRelease' mirror_InRelease 0 ";
        assert_eq!(release_file(line), Some(("mirror:/debian", "bookworm-updates")));
        assert_eq!(release_file("'mirror:/debian/dists/bookworm/main/Packages.xz' x 0 "), None);
        assert_eq!(release_file(""), None);
    }
}
