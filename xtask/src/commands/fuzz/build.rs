//! The fuzz targets, and how each is compiled. libFuzzer's hooks come from rustc itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::artefacts::nightly;
use crate::foundation::progress::Step;
use crate::foundation::{command, tools, workspace};

/// The target triple is given, so that build scripts do not get the targets' flags.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A fuzz target: `fuzz/fuzz_targets/NAME.rs`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Its guests make hypercalls, which it counts.
    pub(crate) makes_hypercalls: bool,
}

impl Target {
    const fn guests(name: &'static str) -> Self {
        Self { name, makes_hypercalls: true }
    }

    const fn parser(name: &'static str) -> Self {
        Self { name, makes_hypercalls: false }
    }
}

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    Target::guests("hypercalls"),
    Target::guests("events"),
    Target::guests("control"),
    Target::guests("races"),
    Target::parser("instructions"),
    Target::parser("rings"),
    Target::parser("boot_modules"),
    Target::parser("decompress"),
    Target::parser("microcode"),
    Target::parser("boot_arguments"),
    Target::parser("multiboot"),
    Target::parser("firmware"),
    Target::parser("guest_stream"),
];

/// Instrumentation of a target.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Instrumentation {
    /// Counters of edges: fast.
    Counters,
    /// Also compared values, with which libFuzzer finds magic numbers.
    Compares,
    /// Also AddressSanitizer.
    Address,
    /// What `llvm-cov` reads.
    Coverage,
}

impl Instrumentation {
    const fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Compares => "compares",
            Self::Address => "address",
            Self::Coverage => "coverage",
        }
    }

    fn flags(self) -> String {
        let mut flags = String::from("-Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on -Cdebuginfo=1");
        if matches!(self, Self::Coverage) {
            flags += " -Cinstrument-coverage";
            return flags;
        }
        flags += " -Cpasses=sancov-module";
        let compares = if matches!(self, Self::Counters) { "" } else { " trace-compares" };
        for option in format!("level=3 inline-8bit-counters pc-table{compares}").split(' ') {
            flags += &format!(" -Cllvm-args=-sanitizer-coverage-{option}");
        }
        if matches!(self, Self::Address) {
            flags += " -Zsanitizer=address";
        }
        flags
    }
}

/// Builds the target and returns its program.
pub(crate) fn program(target: &Target, instrumentation: Instrumentation) -> Result<PathBuf> {
    nightly::need(&[])?;
    // libFuzzer itself is C++, which cargo builds.
    tools::need_program("c++", "g++")?;
    let folder = workspace::target().join("fuzz/build").join(instrumentation.name());
    let _step = Step::start(format!("building fuzz target {}", target.name));
    let mut cargo: Command = nightly::cargo(&workspace::root().join("fuzz"));
    cargo.args(["build", "--quiet", "--release", "--target", TRIPLE, "--bin", target.name, "--target-dir"]);
    command::quiet(cargo.arg(&folder).env("RUSTFLAGS", instrumentation.flags()))?;
    Ok(folder.join(TRIPLE).join("release").join(target.name))
}
