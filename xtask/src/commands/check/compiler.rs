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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Functions that take an element by an index that is not masked, one in each line.
    const UNMASKED: [&str; 16] = [
        "pub fn f(list: &[u8], index: usize) -> u8 { list[index] }",
        "pub fn f(list: &[u8; 4], index: usize) -> u8 { list[index] }",
        "pub fn f(list: &Vec<u8>, index: usize) -> u8 { list[index] }",
        "pub fn f(list: &[u8], end: usize) -> &[u8] { &list[..end] }",
        "pub fn f(list: &[u8], index: usize) -> Option<&u8> { list.get(index) }",
        "pub fn f(list: &[u8; 4], index: usize) -> Option<&u8> { list.get(index) }",
        "pub fn f(list: &Vec<u8>, index: usize) -> Option<&u8> { list.get(index) }",
        "pub fn f(list: &[u8], end: usize) -> Option<&[u8]> { list.get(..end) }",
        "pub fn f(list: &mut [u8], index: usize) -> Option<&mut u8> { list.get_mut(index) }",
        "pub fn f(list: &[u8], index: usize) -> Option<&u8> { <[u8]>::get(list, index) }",
        "pub fn f() -> fn(&[u8], usize) -> Option<&u8> { <[u8]>::get::<usize> }",
        "pub fn f(list: &[u8], index: usize) -> &u8 { core::ops::Index::index(list, index) }",
        "pub fn f(list: &[u8], index: usize) -> (&[u8], &[u8]) { list.split_at(index) }",
        "pub fn f(list: &[u8], index: usize) -> Option<&u8> { list.iter().nth(index) }",
        "pub fn f(list: &std::collections::VecDeque<u8>, index: usize) -> Option<&u8> { list.get(index) }",
        "pub fn f(list: &mut Vec<u8>, index: usize) -> u8 { list.remove(index) }",
    ];

    /// What the lints that the crate denies find in a source.
    fn findings(package: &str, source: &str) -> String {
        let root = workspace::root();
        let library = fs::read_to_string(root.join(package).join("src/lib.rs")).expect("the crate");
        let lints = ["clippy::indexing_slicing", "clippy::disallowed_methods"];
        for lint in lints {
            assert!(library.contains(lint), "{package} does not deny {lint}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("planted.rs");
        fs::write(&file, source).expect("a file");
        let mut clippy = Command::new("clippy-driver");
        clippy.args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"]);
        clippy.arg(folder.path()).arg(file).args(lints.map(|lint| format!("--deny={lint}")));
        let output = clippy.current_dir(root).env("CLIPPY_CONF_DIR", root.join(package)).output().expect("Clippy runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    #[test]
    fn an_unmasked_index_fails_the_lints() {
        if let Some(reason) = missing("clippy", "clippy") {
            eprintln!("skipped: {reason}");
            return;
        }
        for package in ["hypervisor", "machine"] {
            let source: String = (0..)
                .zip(UNMASKED)
                .map(|(number, line)| format!("{}\n", line.replace("fn f", &format!("fn f{number}"))))
                .collect();
            let found = findings(package, &source);
            for (number, line) in (1..).zip(UNMASKED) {
                let finding = found
                    .split("\n\n")
                    .find(|finding| finding.starts_with("error") && finding.contains(&format!("planted.rs:{number}:")));
                assert!(finding.is_some(), "{package}: {line}\n{found}");
            }
            let masked = "pub fn f(list: &[u8; 4]) -> u8 { list[2] }\n";
            let found = findings(package, masked);
            assert!(!found.contains("error"), "a constant needs no mask: {found}");
        }
    }
}
