//! `cargo xtask build`: the release image at `target/paravane`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{symbols, toolchain, workspace};

/// Builds the image and returns its path.
pub(crate) fn build() -> Result<PathBuf> {
    toolchain::need_target(toolchain::BARE)?;
    let programs = cargo_artifacts(
        Command::new(cargo())
            .args(["build", "--release", "--package", "image", "--target", toolchain::BARE])
            .current_dir(workspace::root()),
    )?;
    let [built] = programs.as_slice() else { bail!("the package image should make one program") };
    let image = workspace::made(workspace::target())?.join("paravane");
    // Renamed into place, so that a machine that boots the old image meanwhile never sees half a file.
    let fresh = image.with_extension("new");
    fs::copy(built, &fresh).with_context(|| format!("cannot write {}", fresh.display()))?;
    symbols::embed(&fresh)?;
    fs::rename(&fresh, &image)?;
    Ok(image)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Runs a cargo build and returns the programs that it makes. Its messages go to standard error.
pub(crate) fn cargo_artifacts(command: &mut Command) -> Result<Vec<PathBuf>> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the build failed");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    Ok(messages.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?))).collect())
}
