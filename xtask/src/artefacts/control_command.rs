//! The command `paravane`, for the control domain: Debian 12.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::FileHeader;

use crate::foundation::{cargo, command, tools, workspace};

/// The C library of Debian 12; a program that needs a later one does not start there.
const C_LIBRARY: [u32; 2] = [2, 36];

/// Builds the program and returns its path. It is linked dynamically, since it opens the libraries
/// of the Xen tools.
pub(crate) fn built() -> Result<PathBuf> {
    tools::need_program("strip", "binutils")?;
    let program = cargo::artifacts(
        Command::new(cargo::program())
            .args(["build", "--quiet", "--release", "--package", "paravane", "--bin", "paravane"])
            .current_dir(workspace::root()),
    )?
    .into_iter()
    .find(|path| path.file_name().is_some_and(|file| file == "paravane"))
    .context("cargo built no paravane")?;
    let needed = c_library(&fs::read(&program)?)?;
    ensure!(
        needed <= C_LIBRARY,
        "the program needs version {}.{} of the C library, Debian 12 has {}.{}: build it on Debian 12",
        needed[0],
        needed[1],
        C_LIBRARY[0],
        C_LIBRARY[1]
    );
    let stripped = workspace::made(workspace::target().join("programs"))?.join("paravane");
    command::quiet(Command::new("strip").arg("-o").args([&stripped, &program]))?;
    Ok(stripped)
}

/// Writes the manual pages of the program to `folder` and returns the completion scripts: path in
/// the file system, and contents.
pub(crate) fn documents(program: &Path, folder: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let run = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().context("cannot run the program")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    };
    run(&["manual", folder.to_str().context("the path is not text")?])?;
    [
        ("bash", "usr/share/bash-completion/completions/paravane"),
        ("zsh", "usr/share/zsh/vendor-completions/_paravane"),
        ("fish", "usr/share/fish/vendor_completions.d/paravane.fish"),
    ]
    .into_iter()
    .map(|(shell, path)| Ok((path, run(&["completion", shell])?)))
    .collect()
}

/// The latest version of the C library of which the program needs a function.
fn c_library(program: &[u8]) -> Result<[u32; 2]> {
    let header = FileHeader64::<Endianness>::parse(program)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, program)?;
    let mut versions = BTreeSet::new();
    if let Some((mut needs, link)) = sections.gnu_verneed(endian, program)? {
        let strings = sections.strings(endian, program, link)?;
        while let Some((_, mut names)) = needs.next()? {
            while let Some(name) = names.next()? {
                let name = name.name(endian, strings)?;
                versions.extend(std::str::from_utf8(name).ok().and_then(version));
            }
        }
    }
    versions.pop_last().context("the program does not use the C library")
}

/// `GLIBC_2.34` as numbers.
fn version(name: &str) -> Option<[u32; 2]> {
    let mut numbers = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_needed_version_of_the_c_library_is_found() {
        assert_eq!(version("GLIBC_2.4"), Some([2, 4]));
        assert_eq!(version("GLIBC_PRIVATE"), None);
        let program = fs::read(std::env::current_exe().expect("its path")).expect("readable");
        let needed = c_library(&program).expect("this program uses it");
        assert!(needed > [2, 0] && needed < [3, 0], "{needed:?}");
    }
}
