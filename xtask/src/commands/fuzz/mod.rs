//! `cargo xtask fuzz`: runs the fuzz targets under libFuzzer, counts their hypercalls, and reports
//! coverage.

mod build;
mod campaign;
mod corpus;
mod coverage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::Args;

use self::build::{Instrumentation, TARGETS, Target};
use self::campaign::{Limit, Outcome};
use crate::foundation::command;

/// Default run time of each target.
const USUAL_TIME: Duration = Duration::from_secs(600);

/// Options of `fuzz`.
#[derive(Args, Debug)]
pub(crate) struct Fuzz {
    /// Seconds for each target [default: 600]
    #[arg(long, value_name = "S")]
    time: Option<u64>,
    /// Only this target (may be given more than once)
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Run the targets that make hypercalls, until they have made this many in total
    #[arg(long, value_name = "N", conflicts_with = "time")]
    calls: Option<u64>,
    /// Number of parallel processes of a target
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    jobs: u32,
    /// Check memory with AddressSanitizer, which is several times slower
    #[arg(long)]
    address: bool,
    /// Run one input of the target instead, and recount the frame table after each step
    #[arg(long, value_name = "FILE", requires = "targets", conflicts_with_all = ["calls", "coverage", "minimise"])]
    input: Option<PathBuf>,
    /// Show which part of each module the corpora cover instead
    #[arg(long, conflicts_with_all = ["calls", "time", "minimise"])]
    coverage: bool,
    /// Minimise the corpora in fuzz/corpus instead, with the same coverage
    #[arg(long, conflicts_with_all = ["calls", "time"])]
    minimise: bool,
}

impl Fuzz {
    /// Does what the options specify; a crash leaves its input under `target/fuzz/crashes/`.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let targets = self.wanted()?;
        if self.coverage {
            println!("{}", coverage::by_room(&targets)?);
            return Ok(ExitCode::SUCCESS);
        }
        if self.minimise {
            targets.iter().try_for_each(|target| corpus::minimise(target))?;
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(input) = &self.input {
            let [target] = targets[..] else { bail!("an input is one target's: give one --target") };
            let program = build::program(target, self.instrumentation(target))?;
            command::shown(campaign::command(&program).arg(input).env(campaign::EACH_STEP, "1"))?;
            return Ok(ExitCode::SUCCESS);
        }
        self.run(&targets)
    }

    fn wanted(&self) -> Result<Vec<&'static Target>> {
        let mut wanted: Vec<&Target> = TARGETS.iter().collect();
        if !self.targets.is_empty() {
            wanted.retain(|target| self.targets.iter().any(|name| name == target.name));
        }
        if self.calls.is_some() {
            wanted.retain(|target| target.makes_hypercalls);
        }
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        ensure!(!wanted.is_empty(), "no such target; there are: {}", names.join(", "));
        Ok(wanted)
    }

    const fn instrumentation(&self, target: &Target) -> Instrumentation {
        match (self.address, target.makes_hypercalls) {
            (true, _) => Instrumentation::Address,
            (false, true) => Instrumentation::Counters,
            (false, false) => Instrumentation::Compares,
        }
    }

    fn run(&self, targets: &[&Target]) -> Result<ExitCode> {
        let mut all = Outcome::default();
        let mut failed = 0;
        let mut share = targets.len() as u64;
        for target in targets {
            let program = build::program(target, self.instrumentation(target))?;
            let limit = match self.calls {
                // Calls beyond the share of earlier targets reduce what the remaining ones have to
                // do.
                Some(calls) => Limit::Calls(calls.saturating_sub(all.calls).div_ceil(share)),
                None => Limit::Time(self.time.map_or(USUAL_TIME, Duration::from_secs)),
            };
            share -= 1;
            eprintln!("fuzzing {}: {limit}", target.name);
            let start = Instant::now();
            match campaign::run(target, &program, limit, self.jobs) {
                Ok(outcome) => {
                    println!("PASS fuzz {}: {outcome}", target.name);
                    all.calls += outcome.calls;
                    all.time += outcome.time;
                }
                Err(error) => {
                    println!("FAIL fuzz {} after {} s: {error:#}", target.name, start.elapsed().as_secs());
                    failed += 1;
                }
            }
        }
        if all.calls != 0 {
            println!("all targets: {all}");
        }
        println!("{} passed, {failed} failed", targets.len() - failed);
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
