//! Programs that a command needs from the system. A missing one is installed with apt-get or cargo
//! where that is possible; elsewhere the error names what to install.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::foundation::command;
use crate::foundation::progress::Step;

/// Makes sure that `program` is installed; `package` is its Debian package.
pub(crate) fn need_program(program: &str, package: &str) -> Result<()> {
    need(program, package, || command::exists(program))
}

/// Makes sure that the file `path` exists; `package` is its Debian package.
pub(crate) fn need_file(path: &str, package: &str) -> Result<()> {
    need(path, package, || Path::new(path).exists())
}

fn need(what: &str, package: &str, is_there: impl Fn() -> bool) -> Result<()> {
    if is_there() {
        return Ok(());
    }
    if !command::exists("apt-get") {
        bail!("{what} is missing: install it (Debian's package for it is {package})");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("{what} is missing: run 'apt-get install {package}' as root");
    }
    let _step = Step::start(format!("installing {package}"));
    let install = || {
        command::quiet(
            Command::new("apt-get")
                .args(["install", "--yes", "--no-install-recommends", package])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    if install().is_err() {
        // The package lists are missing or old. A failed update matters only if the second attempt
        // fails.
        let updated = command::quiet(Command::new("apt-get").arg("update"));
        install().with_context(|| match updated {
            Ok(_) => format!("{what} is missing and {package} cannot be installed"),
            Err(error) => format!("{what} is missing and the lists of packages cannot be fetched ({error:#})"),
        })?;
    }
    if !is_there() {
        bail!("{what} is still missing although {package} is installed");
    }
    Ok(())
}

/// Whether `cargo SUBCOMMAND` is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    let program = format!("cargo-{subcommand}");
    let installed = std::env::home_dir().is_some_and(|home| home.join(".cargo/bin").join(&program).is_file());
    installed || command::exists(&program)
}

/// Makes sure that `cargo SUBCOMMAND` is installed; `package` is its crate.
pub(crate) fn need_cargo(subcommand: &str, package: &str) -> Result<()> {
    if has_cargo(subcommand) {
        return Ok(());
    }
    eprintln!("installing {package} with cargo (once, takes some minutes)");
    command::shown(Command::new("cargo").args(["install", "--locked", package]).current_dir("/"))
        .with_context(|| format!("cargo-{subcommand} is missing: run 'cargo install --locked {package}'"))
}
