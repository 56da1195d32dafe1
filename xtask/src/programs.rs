//! The programs that the ramdisk gets: those in Rust, linked statically, and the kernel tests' programs in assembly,
//! which reach what safe Rust does not (32-bit system calls, vector registers, segment bases).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, image, packages, toolchain, workspace};

/// The script that runs them all.
pub(crate) const EXERCISE: &[u8] = include_bytes!("../programs/exercise");

/// The programs in assembly, and whether they are 32-bit.
const ASSEMBLED: [(&str, bool); 3] = [("compat32", true), ("memory", false), ("vectors", false)];

/// A program of a package, built for the guest.
pub(crate) fn built(package: &str, name: &str) -> Result<PathBuf> {
    toolchain::need_target(toolchain::LINUX)?;
    image::cargo_artifacts(
        Command::new(image::cargo())
            .args(["build", "--quiet", "--release", "--package", package])
            .args(["--target", toolchain::LINUX])
            .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=symbols")
            .current_dir(workspace::root()),
    )?
    .into_iter()
    .find(|path| path.file_name().is_some_and(|file| file == name))
    .with_context(|| format!("cargo built no {name}"))
}

/// The programs in assembly: name and file of each.
pub(crate) fn assembled() -> Result<Vec<(&'static str, PathBuf)>> {
    packages::need_program("as", "binutils")?;
    packages::need_program("ld", "binutils")?;
    let sources = workspace::root().join("xtask/programs");
    let folder = workspace::made(workspace::target().join("programs"))?;
    let assemble = |(name, is_32_bit): (&'static str, bool)| {
        let (width, format) = if is_32_bit { ("--32", "elf_i386") } else { ("--64", "elf_x86_64") };
        let (object, program) = (folder.join(format!("{name}.o")), folder.join(name));
        command::quiet(Command::new("as").arg(width).arg("-o").arg(&object).arg(sources.join(format!("{name}.s"))))?;
        command::quiet(Command::new("ld").args(["-m", format, "-o"]).args([&program, &object]))?;
        Ok((name, program))
    };
    ASSEMBLED.into_iter().map(assemble).collect()
}
