//! Programs that run in guests: statically linked Rust programs, and the assembly programs of the
//! kernel tests, which exercise what safe Rust cannot (32-bit system calls, vector registers,
//! segment bases).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::artefacts::toolchain;
use crate::foundation::{cargo, command, tools, workspace};

/// The script that runs all of them.
pub(crate) const EXERCISE: &[u8] = include_bytes!("../../programs/exercise");

/// The assembly programs, and whether each is 32-bit.
const ASSEMBLED: [(&str, bool); 4] =
    [("compat32", true), ("memory", false), ("unpreempted", false), ("vectors", false)];

/// Builds a program of a package for the guest and returns its path.
pub(crate) fn built(package: &str, name: &str) -> Result<PathBuf> {
    toolchain::need_target(toolchain::LINUX)?;
    cargo::artifacts(
        Command::new(cargo::program())
            .args(["build", "--quiet", "--release", "--package", package])
            .args(["--target", toolchain::LINUX])
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
            .current_dir(workspace::root()),
    )?
    .into_iter()
    .find(|path| path.file_name().is_some_and(|file| file == name))
    .with_context(|| format!("cargo built no {name}"))
}

/// Builds the workspace of the test guests and returns their files by name.
pub(crate) fn test_guests() -> Result<BTreeMap<String, PathBuf>> {
    toolchain::need_target(toolchain::BARE)?;
    let folder = workspace::root().join("guests");
    let target = workspace::made(workspace::target().join("guests"))?;
    let programs = cargo::artifacts(
        Command::new(cargo::program()).args(["build", "--release"]).env("CARGO_TARGET_DIR", target).current_dir(folder),
    )?;
    Ok(programs.into_iter().filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path))).collect())
}

/// Builds the assembly programs, once, and returns their names and files.
pub(crate) fn assembled() -> Result<Vec<(&'static str, PathBuf)>> {
    static DONE: Mutex<Option<Vec<(&str, PathBuf)>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(programs) = &*done {
        return Ok(programs.clone());
    }
    let programs: Result<Vec<_>> =
        ASSEMBLED.into_iter().map(|(name, is_32_bit)| Ok((name, assemble(name, is_32_bit)?))).collect();
    Ok(done.insert(programs?).clone())
}

/// Builds the Multiboot image that only reports that it was entered.
pub(crate) fn entry() -> Result<PathBuf> {
    assemble("entry", true)
}

fn assemble(name: &str, is_32_bit: bool) -> Result<PathBuf> {
    tools::need_program("as", "binutils")?;
    tools::need_program("ld", "binutils")?;
    let source = workspace::root().join(format!("xtask/programs/{name}.s"));
    let folder = workspace::made(workspace::target().join("programs"))?;
    let (width, format) = if is_32_bit { ("--32", "elf_i386") } else { ("--64", "elf_x86_64") };
    let (object, program) = (folder.join(format!("{name}.o")), folder.join(name));
    command::quiet(Command::new("as").arg(width).arg("-o").arg(&object).arg(source))?;
    command::quiet(Command::new("ld").args(["-m", format, "-o"]).args([&program, &object]))?;
    Ok(program)
}
