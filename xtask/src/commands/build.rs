//! `cargo xtask build`: the release image at `target/paravane`.

use std::process::ExitCode;

use anyhow::Result;

use crate::artefacts::hypervisor;

/// Builds it and prints its path on the last line.
pub(crate) fn execute() -> Result<ExitCode> {
    println!("{}", hypervisor::build()?.display());
    Ok(ExitCode::SUCCESS)
}
