//! The nightly toolchain: installed where it is missing, with the components that a command needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::foundation::command;
use crate::foundation::progress::Step;

/// The cargo of the nightly toolchain, without the environment variables that the calling cargo has
/// set.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(folder);
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("RUSTDOC");
    command
}

/// Installs the nightly toolchain and its components if they are missing.
pub(crate) fn need(components: &[&str]) -> Result<()> {
    if !command::exists("rustup") {
        bail!("rustup is missing: the nightly toolchain is needed");
    }
    let run = |arguments: &[&str]| {
        command::quiet(Command::new("rustup").args(arguments).env_remove("RUSTUP_TOOLCHAIN").current_dir("/"))
    };
    if run(&["run", "nightly", "rustc", "--version"]).is_err() {
        let _step = Step::start("installing the nightly toolchain");
        run(&["toolchain", "install", "nightly", "--profile", "minimal"])
            .context("the nightly toolchain is missing: run 'rustup toolchain install nightly'")?;
    }
    let listed = run(&["component", "list", "--installed", "--toolchain", "nightly"])?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for component in components {
        if !listed.lines().any(|line| line.starts_with(component)) {
            let _step = Step::start(format!("installing {component} for the nightly toolchain"));
            run(&["component", "add", component, "--toolchain", "nightly"]).with_context(|| {
                format!("{component} is missing: run 'rustup component add {component} --toolchain nightly'")
            })?;
        }
    }
    Ok(())
}
