//! `cargo xtask image`: the disk image at `target/paravane-disk.img`.

use std::process::ExitCode;

use anyhow::Result;

use crate::debian::disk_image;

/// Builds it and prints its path on the last line.
pub(crate) fn execute() -> Result<ExitCode> {
    println!("{}", disk_image::build()?.display());
    Ok(ExitCode::SUCCESS)
}
