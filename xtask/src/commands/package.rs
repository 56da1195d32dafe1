//! `cargo xtask package`: the Debian package at `target/paravane_VERSION_amd64.deb`.

use std::process::ExitCode;

use anyhow::Result;

use crate::artefacts::package;

/// Builds it and prints its path on the last line.
pub(crate) fn execute() -> Result<ExitCode> {
    println!("{}", package::build()?.display());
    Ok(ExitCode::SUCCESS)
}
