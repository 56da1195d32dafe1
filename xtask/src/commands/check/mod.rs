//! `cargo xtask check`: what a tool can find in the sources. All checks run; the last line has the
//! totals. A check that needs what this machine lacks is skipped, with the reason.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::foundation::progress::Step;

mod compiler;
mod dependencies;
mod documents;
mod sources;

/// Options of `check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Format the sources and write generated files before checking
    #[arg(long)]
    fix: bool,
}

/// How a check that did not fail ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// It could not be made on this machine, for this reason.
    Skipped(String),
}

type Checked = Result<Verdict>;

impl Check {
    /// Runs all checks, the fast ones first.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let checks: [(&str, &dyn Fn() -> Checked); 9] = [
            ("format", &|| compiler::format(self.fix)),
            ("length of files", &sources::lengths),
            ("places of tests", &sources::places_of_tests),
            ("layers", &|| documents::layers(self.fix)),
            ("words", &sources::words),
            ("citations", &sources::citations),
            ("dependencies", &dependencies::check),
            ("generated files", &|| documents::generated(self.fix)),
            ("lints", &compiler::lints),
        ];
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (name, check) in checks {
            let step = Step::on_terminal(name);
            let result = check();
            drop(step);
            match result {
                Ok(Verdict::Passed) => {
                    passed += 1;
                    println!("ok: {name}");
                }
                Ok(Verdict::Skipped(reason)) => {
                    skipped += 1;
                    println!("SKIP: {name}: {reason}");
                }
                Err(error) => {
                    failed += 1;
                    println!("FAILED: {name}: {error:#}");
                }
            }
        }
        println!("{passed} checks passed, {failed} failed, {skipped} skipped");
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Passes if there are no findings; else fails with one line for each.
fn none_of(findings: &[String]) -> Checked {
    ensure!(findings.is_empty(), "{} findings\n  {}", findings.len(), findings.join("\n  "));
    Ok(Verdict::Passed)
}

/// Fails if the file is not what was generated for it; with `fix` writes it first.
fn up_to_date(file: &Path, generated: &[u8], fix: bool) -> Result<()> {
    let shown = file.display();
    if fix {
        fs::write(file, generated).with_context(|| format!("cannot write {shown}"))?;
    }
    let current = fs::read(file).with_context(|| format!("cannot read {shown}: run 'cargo xtask check --fix'"))?;
    ensure!(current == generated, "{shown} is out of date: run 'cargo xtask check --fix'");
    Ok(())
}
