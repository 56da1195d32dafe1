//! Host tests: everything that runs in an ordinary process, under cargo-nextest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Outcome, Report};
use crate::foundation::{cargo, tools, workspace};

/// The packages that have host tests.
const PACKAGES: [&str; 9] =
    ["abi", "decompress", "microcode", "machine", "hypervisor", "libxen", "paravane", "xtask", "ramdisk-agent"];

/// Runs the tests whose name contains `only` and adds their numbers.
pub(super) fn run(report: &Report, only: Option<&str>) -> Result<()> {
    tools::need_cargo("nextest", "cargo-nextest")?;
    // Layouts are compared with Xen's own headers. Without the headers those tests report it and
    // pass.
    if let Err(error) = tools::need_file("/usr/include/xen/xen.h", "libxen-dev") {
        eprintln!("layouts are not compared with Xen's headers: {error:#}");
    }
    let start = Instant::now();
    let mut command = Command::new(cargo::program());
    command.args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass", "--color", "never"]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package])).args(only);
    let mut child = command
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo nextest")?;
    let mut summary = None;
    if let Some(pipe) = child.stderr.take() {
        for line in BufReader::new(pipe).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            eprintln!("{line}");
            summary = Summary::parse(&line).or(summary);
        }
    }
    let status = child.wait()?;
    let summary = summary.unwrap_or_default();
    // Tests that were filtered out do not count as skipped.
    let skipped = if only.is_some() { 0 } else { summary.skipped };
    report.add_many("host tests", summary.passed, summary.failed, skipped);
    if summary.failed == 0 && !status.success() {
        report.add("host tests", start.elapsed(), Outcome::Failure(format!("cargo nextest failed ({status})")));
    } else {
        println!("PASS {} host tests ({:.1} s)", summary.passed, Duration::as_secs_f64(&start.elapsed()));
    }
    Ok(())
}

/// The numbers in the last line of nextest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Summary {
    /// Reads `Summary [ 1.0s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("Summary [")?.split_once(" run: ")?;
        let mut summary = Self::default();
        for part in counts.split(", ") {
            let (number, kind) = part.trim().split_once(' ')?;
            // A remark in parentheses may contain commas.
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind.split([' ', ')']).next()? {
                "passed" => summary.passed += number,
                "skipped" => summary.skipped += number,
                "failed" | "timed" | "exec" => summary.failed += number,
                _ => {}
            }
        }
        Some(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn the_summary_is_read() {
        let line = "     Summary [   0.012s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 3 skipped";
        assert_eq!(Summary::parse(line), Some(Summary { passed: 6, failed: 3, skipped: 3 }));
        let line = "Summary [   0.012s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(Summary::parse(line), Some(Summary { passed: 1, failed: 0, skipped: 0 }));
        assert_eq!(Summary::parse("        PASS [   0.004s] abi tests::a"), None);
    }
}
