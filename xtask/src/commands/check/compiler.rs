//! Checks by the toolchain: rustfmt and Clippy.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Checked, Verdict};
use crate::artefacts::toolchain;
use crate::foundation::{cargo, command, workspace};

/// Folders with a Cargo workspace.
const WORKSPACES: [&str; 3] = [".", "guests", "fuzz"];

/// Packages that also run on the bare machine.
const BARE: [&str; 6] = ["abi", "decompress", "microcode", "machine", "hypervisor", "image"];

/// Clippy's arguments: no warning is accepted.
const STRICT: [&str; 3] = ["--", "-D", "warnings"];

/// The sources are formatted; with `fix` they are formatted first.
pub(super) fn format(fix: bool) -> Checked {
    if let Some(reason) = missing("fmt", "rustfmt") {
        return Ok(Verdict::Skipped(reason));
    }
    for folder in workspaces() {
        let mut format = cargo(&folder, &["fmt", "--all"]);
        if !fix {
            format.arg("--check");
        }
        command::quiet(&mut format)?;
    }
    Ok(Verdict::Passed)
}

/// Clippy for the host, for the bare machine, and for the test guests.
pub(super) fn lints() -> Checked {
    let target = toolchain::need_target(toolchain::BARE).err().map(|error| format!("{error:#}"));
    if let Some(reason) = missing("clippy", "clippy").or(target) {
        return Ok(Verdict::Skipped(reason));
    }
    let root = workspace::root();
    command::quiet(cargo(root, &["clippy", "--quiet", "--workspace", "--all-targets"]).args(STRICT))?;
    let bare = BARE.iter().flat_map(|package| ["--package", package]);
    command::quiet(cargo(root, &["clippy", "--quiet", "--target", toolchain::BARE]).args(bare).args(STRICT))?;
    let guests = root.join("guests");
    if guests.join("Cargo.toml").exists() {
        let target = workspace::made(workspace::target().join("guests"))?;
        let mut clippy = cargo(&guests, &["clippy", "--quiet", "--release"]);
        command::quiet(clippy.args(STRICT).env("CARGO_TARGET_DIR", target))?;
    }
    Ok(Verdict::Passed)
}

/// Why a component of the toolchain is missing and cannot be added.
fn missing(subcommand: &str, component: &str) -> Option<String> {
    toolchain::need_component(subcommand, component).err().map(|error| format!("{error:#}"))
}

fn workspaces() -> impl Iterator<Item = PathBuf> {
    WORKSPACES.iter().map(|folder| workspace::root().join(folder)).filter(|folder| folder.join("Cargo.toml").exists())
}

/// Cargo with these arguments, in the folder.
pub(super) fn cargo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo::program());
    command.args(arguments).current_dir(folder);
    command
}
