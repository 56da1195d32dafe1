//! Ramdisks of guests: busybox, an init script, and what a test adds, as a newc archive. It is not
//! compressed, because an emulated CPU takes longer to decompress it than a loader to copy it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artefacts::programs;
use crate::debian::kernel_modules;
use crate::debian::packages::Release;
use crate::foundation::command;

const INIT: &[u8] = include_bytes!("../../ramdisk/init");

const FILE: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// A newc archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Ramdisk {
    archive: Vec<u8>,
    entries: u32,
}

impl Ramdisk {
    /// A ramdisk that boots to `/init`, by default a shell on the console.
    pub(crate) fn bootable() -> Result<Self> {
        let mut ramdisk = Self::with_busybox(INIT)?;
        for folder in ["programs", "root", "sbin", "sys", "tmp", "usr", "usr/bin", "usr/sbin"] {
            ramdisk.folder(folder)?;
        }
        Ok(ramdisk)
    }

    /// A ramdisk with busybox, `init` as the first process, and what that needs.
    pub(crate) fn with_busybox(init: &[u8]) -> Result<Self> {
        let mut ramdisk = Self::default();
        for folder in ["bin", "dev", "proc"] {
            ramdisk.folder(folder)?;
        }
        // The kernel opens this for the first process before anything is mounted.
        ramdisk.entry("dev/console", DEVICE | 0o600, &[], (5, 1))?;
        ramdisk.file("init", 0o755, init)?;
        ramdisk.file("bin/busybox", 0o755, &busybox()?)?;
        Ok(ramdisk)
    }

    /// Adds an empty folder.
    pub(crate) fn folder(&mut self, path: &str) -> Result<()> {
        self.entry(path, FOLDER | 0o755, &[], (0, 0))
    }

    /// Makes the ramdisk run `words` instead of a shell. The files for it are put into `folder`,
    /// which is empty for the root or ends with a slash.
    pub(crate) fn command(&mut self, folder: &str, words: &[OsString]) -> Result<()> {
        self.agent(folder)?;
        let mut line = words.join(OsStr::new("\0")).as_bytes().to_vec();
        line.push(0);
        self.file(&format!("{folder}command"), 0o644, &line)
    }

    /// Adds the program that runs commands and reports them.
    pub(crate) fn agent(&mut self, folder: &str) -> Result<()> {
        self.file(&format!("{folder}agent"), 0o755, &fs::read(programs::built("ramdisk-agent", "ramdisk-agent")?)?)
    }

    /// Adds the kernel modules called `names`, and `modules/order`, which lists them in load order.
    /// `folder` has `modules.dep`.
    pub(crate) fn modules(&mut self, folder: &Path, names: &[&str]) -> Result<()> {
        self.folder("modules")?;
        let mut order = String::new();
        for file in kernel_modules::closure(folder, names)? {
            let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            self.file(&format!("modules/{name}"), 0o644, &bytes)?;
            order.push_str(&name);
            order.push('\n');
        }
        self.file("modules/order", 0o644, order.as_bytes())
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(path, FILE | mode, bytes, (0, 0))
    }

    /// Adds the programs of the kernel tests, in `/programs`.
    pub(crate) fn programs(&mut self) -> Result<()> {
        self.file("programs/exercise", 0o755, programs::EXERCISE)?;
        self.entry("programs/threads", LINK | 0o777, b"/agent", (0, 0))?;
        for (name, file) in programs::assembled()? {
            self.file(&format!("programs/{name}"), 0o755, &fs::read(file)?)?;
        }
        Ok(())
    }

    /// Returns the complete archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.archive)
    }

    /// Returns the complete archive compressed, for a guest with little memory.
    pub(crate) fn finish_small(self) -> Result<Vec<u8>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(&self.finish()?)?;
        file.rewind()?;
        Ok(command::quiet(Command::new("gzip").arg("-9c").stdin(file))?.stdout)
    }

    /// Appends an archive member: magic number, thirteen fields of eight hexadecimal digits, then
    /// name and contents, each padded to a multiple of four bytes.
    fn entry(&mut self, path: &str, mode: u32, bytes: &[u8], device: (u32, u32)) -> Result<()> {
        let Ok(length) = u32::try_from(bytes.len()) else { bail!("{path} is too large for a ramdisk") };
        self.entries += 1;
        let name_length = u32::try_from(path.len() + 1).context("file name too long")?;
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        self.archive.extend_from_slice(b"070701");
        for field in fields {
            self.archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(path.as_bytes());
        self.archive.push(0);
        self.fill();
        self.archive.extend_from_slice(bytes);
        self.fill();
        Ok(())
    }

    fn fill(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

/// The static busybox of Debian 12, whatever the host has.
fn busybox() -> Result<Vec<u8>> {
    let path: PathBuf = Release::open("bookworm")?.unpacked("busybox-static")?.join("bin/busybox");
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Ramdisk;

    #[test]
    fn members_are_aligned_and_the_trailer_is_last() {
        let mut ramdisk = Ramdisk::default();
        ramdisk.file("a", 0o644, b"hello").expect("small");
        let archive = ramdisk.finish().expect("small");
        assert_eq!(&archive[..6], b"070701");
        assert_eq!(&archive[14..22], b"000081a4");
        assert_eq!(&archive[54..62], b"00000005");
        assert_eq!(&archive[110..112], b"a\0");
        assert_eq!(&archive[112..117], b"hello");
        assert_eq!(&archive[120..126], b"070701");
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(archive.len() % 4, 0);
    }
}
