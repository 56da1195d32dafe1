//! The nightly toolchain, and `cargo xtask miri`, which needs it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::progress::Step;
use crate::{command, packages, workspace};

/// Options of `miri`.
#[derive(Args, Debug)]
pub(crate) struct Miri {
    /// Only this package [default: abi and machine, which may have unsafe code]
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    /// More arguments for nextest, such as a test's name
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// The packages that Miri looks at unless told otherwise: those that may have unsafe code, and what they are made of. Most tests of the hypervisor, which forbids such
/// code, begin with CPUID, which Miri has not got.
const PACKAGES: [&str; 2] = ["abi", "machine"];

impl Miri {
    /// Runs the host tests under Miri.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        need(&["miri", "rust-src"])?;
        packages::need_cargo("nextest", "cargo-nextest")?;
        let mut miri = cargo(workspace::root());
        miri.args(["miri", "nextest", "run", "--no-fail-fast", "--no-tests", "pass", "--target-dir"]);
        miri.arg(workspace::target().join("miri"));
        // The memory of a test's machine is never freed, and its clock is the host's.
        miri.env("MIRIFLAGS", "-Zmiri-ignore-leaks -Zmiri-disable-isolation");
        match &self.package {
            Some(package) => miri.args(["--package", package]),
            None => miri.args(PACKAGES.iter().flat_map(|package| ["--package", package])),
        };
        command::shown(miri.args(&self.arguments))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The nightly toolchain's cargo, free of what our own has put into the environment.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(folder);
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC").env_remove("RUSTDOC");
    command
}

/// Makes sure of the nightly toolchain and its components.
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
