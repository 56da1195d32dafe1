//! The release image of the hypervisor, at `target/paravane`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artefacts::{symbols, toolchain};
use crate::foundation::cargo;
use crate::foundation::workspace;

/// Builds the image and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    toolchain::need_target(toolchain::BARE)?;
    let programs = cargo::artifacts(
        Command::new(cargo::program())
            .args(["build", "--release", "--package", "image", "--target", toolchain::BARE])
            .current_dir(workspace::root()),
    )?;
    let [built] = programs.as_slice() else { bail!("the package image should make one program") };
    let image = workspace::made(workspace::target())?.join("paravane");
    // Rename into place, so that a machine booting the old image never sees a partial file.
    let fresh = image.with_extension("new");
    fs::copy(built, &fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    symbols::embed(&fresh)?;
    fs::rename(&fresh, &image)?;
    Ok(image)
}
