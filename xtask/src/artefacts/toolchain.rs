//! Targets and components that the workspace's Rust toolchain needs. A toolchain installed without
//! reading `rust-toolchain.toml` may lack them; rustup adds them here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::foundation::progress::Step;
use crate::foundation::{cargo, command, workspace};

/// Target of the hypervisor and the test guests.
pub(crate) const BARE: &str = "x86_64-unknown-none";

/// Target of the programs that run in a stock guest.
pub(crate) const LINUX: &str = "x86_64-unknown-linux-gnu";

/// Adds `target` to the toolchain if it is missing.
pub(crate) fn need_target(target: &str) -> Result<()> {
    let library = sysroot()?.join("lib/rustlib").join(target).join("lib");
    if has_core(&library) {
        return Ok(());
    }
    add(&format!("target {target}"), &["target", "add", target])?;
    if !has_core(&library) {
        bail!("the target {target} is still missing: there is no core library in {}", library.display());
    }
    Ok(())
}

/// Adds the sources of the core library, from which it is compiled with other options, if they are
/// missing.
pub(crate) fn need_sources() -> Result<()> {
    let library = sysroot()?.join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if library.exists() {
        return Ok(());
    }
    add("component rust-src", &["component", "add", "rust-src"])?;
    if !library.exists() {
        bail!("the component rust-src is still missing: there is no {}", library.display());
    }
    Ok(())
}

/// Adds `component`, which supplies `cargo SUBCOMMAND`, if that does not work.
pub(crate) fn need_component(subcommand: &str, component: &str) -> Result<()> {
    let works = || {
        let mut cargo = Command::new(cargo::program());
        command::quiet(cargo.args([subcommand, "--version"]).current_dir(workspace::root()))
    };
    if works().is_ok() {
        return Ok(());
    }
    add(&format!("component {component}"), &["component", "add", component])?;
    works().with_context(|| format!("the component {component} is installed but does not work"))?;
    Ok(())
}

/// Runs rustup to add something to the active toolchain of the workspace.
fn add(what: &str, arguments: &[&str]) -> Result<()> {
    let by_hand = format!("the Rust toolchain lacks the {what}: run 'rustup {}' in this folder", arguments.join(" "));
    if !command::exists("rustup") {
        bail!("{by_hand} (there is no rustup on this machine: without it, install a toolchain that has the {what})");
    }
    let _step = Step::start(format!("adding the {what} to the Rust toolchain"));
    // Cargo sets RUSTUP_TOOLCHAIN for its children, so rustup acts on the right toolchain.
    command::quiet(Command::new("rustup").args(arguments).current_dir(workspace::root())).context(by_hand)?;
    Ok(())
}

/// Folder of the toolchain that builds xtask.
fn sysroot() -> Result<PathBuf> {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = command::quiet(Command::new(compiler).args(["--print", "sysroot"]).current_dir(workspace::root()))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn has_core(library: &Path) -> bool {
    let Ok(files) = library.read_dir() else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
}

#[cfg(test)]
mod tests {
    use super::has_core;

    #[test]
    fn a_target_without_its_core_library_is_missing() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("lib");
        assert!(!has_core(&library));
        std::fs::create_dir(&library).expect("a folder");
        assert!(!has_core(&library));
        std::fs::write(library.join("libcore-0123.rlib"), "").expect("a file");
        assert!(has_core(&library));
    }
}
