//! `cargo xtask miri`: the host tests under Miri.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::artefacts::nightly;
use crate::foundation::{command, tools, workspace};

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

/// The packages that run under Miri by default: those that may have unsafe code, and what they
/// depend on. Most tests of the hypervisor, which forbids unsafe code, start with CPUID, which Miri
/// does not support.
const PACKAGES: [&str; 2] = ["abi", "machine"];

impl Miri {
    /// Runs the host tests under Miri.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        nightly::need(&["miri", "rust-src"])?;
        tools::need_cargo("nextest", "cargo-nextest")?;
        let mut miri = nightly::cargo(workspace::root());
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
