//! `cargo xtask test`: host tests, then tests on machines, in two series at the same time: an
//! emulated machine with one processor keeps one processor of this machine busy. The last line has
//! the totals.

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::commands::bench::{Defences, UNDEFENDED};
use crate::foundation::progress::{Step, print_result};
use crate::foundation::size::Size;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::emulator;
use crate::virtual_machine::host::{Host, Load};
use crate::virtual_machine::machine::{Booted, Contents, Setup};
use crate::virtual_machine::session::{Limits, SessionEvent};

mod consoles;
mod control_domain;
mod crowd;
mod debian_guests;
mod efi;
mod errors;
mod guests;
mod hardware;
mod host;
mod installed;
mod kernels;
mod microcode;
mod screen;
mod threads;
mod thunk;

/// Options of `test`. Without a choice of kind, all kinds run.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Host tests: unit and property tests of the crates
    #[arg(long)]
    host: bool,
    /// Test guests: the folders under guests/
    #[arg(long)]
    guests: bool,
    /// Stock kernels to user space with a process-heavy script, eight guests at once, and the error
    /// messages of 'run'
    #[arg(long)]
    kernels: bool,
    /// Consoles, microcode, the form of indirect branches, and the initial domain with disks and
    /// networks of several kinds and with EFI variables
    #[arg(long)]
    hardware: bool,
    /// Debian's control domain with the stock Xen tools; by default only the short scenarios
    #[arg(long)]
    control_domain: bool,
    /// Scenarios on two hosts, each with its control domain (not run by default)
    #[arg(long)]
    two_hosts: bool,
    /// Scenarios in control domains and screens in their long form, the long test guests, and
    /// all stock kernels with all numbers of virtual CPUs
    #[arg(long)]
    full: bool,
    /// Full Debian 12 and 13 guests, each on its own disk (as root; not run by default)
    #[arg(long)]
    debian_guests: bool,
    /// A disk with the package installed, booted by GRUB under BIOS and UEFI (as root; not run by
    /// default)
    #[arg(long)]
    installed: bool,
    /// Only tests whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Number of times to run each test on a machine; a stock kernel boots with 1, 2 and 4 virtual
    /// CPUs in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// QEMU's CPU model
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// Additional words for the hypervisor's command line, except where a test is about that line
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    host_append: String,
    /// Boot the stock kernels on another Multiboot hypervisor to compare: a file, 'xen', or 'none'
    #[arg(long, value_name = "FILE")]
    hypervisor: Option<String>,
}

/// Outcome of one test.
#[derive(Debug)]
enum Outcome {
    Success,
    Failure(String),
    Skip(String),
}

/// Settings that all tests on a machine share.
#[derive(Debug)]
struct Bench {
    host: Host,
    accelerator: Accelerator,
    cpu: Option<String>,
    /// Words for the hypervisor's command line.
    options: String,
}

impl Bench {
    /// A machine that boots `load`, without disks and additional arguments.
    fn setup<'a>(
        &'a self,
        cpus: u32,
        memory: Size,
        load: Load,
        files: Vec<(&'a str, Contents)>,
        limits: Limits,
    ) -> Setup<'a> {
        Setup {
            host: &self.host,
            accelerator: self.accelerator,
            cpu: self.cpu.clone(),
            cpus,
            memory,
            load,
            files,
            disks: Vec::new(),
            options: self.options.clone(),
            raw: false,
            limits,
            arguments: Vec::new(),
        }
    }

    /// Switches on all defences against transient execution, on a processor of this model unless
    /// the command line names another.
    fn defend(&self, setup: &mut Setup<'_>, cpu: &str) {
        if self.host.is_paravane() {
            setup.cpu.get_or_insert_with(|| cpu.into());
            setup.options = format!("{} {}", Defences::All.options(), setup.options);
        }
    }

    /// Switches defences off, which a test with many guests does not need: they make emulation
    /// slow.
    fn expose(&self, setup: &mut Setup<'_>) {
        if self.host.is_paravane() {
            setup.options = format!("{UNDEFENDED} {}", setup.options);
        }
    }
}

/// Follows a machine until it ends; its only script must succeed.
fn script_outcome(mut booted: Booted) -> Outcome {
    let mut output = Vec::new();
    let life = booted.session.follow(booted.limits, |_, event| {
        if let SessionEvent::Output(_, _, bytes) = event {
            output.extend(bytes);
        }
    });
    let output = String::from_utf8_lossy(&output);
    let last = output.lines().last().unwrap_or("nothing printed");
    let log = booted.session.log_path().display();
    let status = booted.session.guests().values().find_map(|guest| guest.status);
    match (life, status) {
        (Ok(()), Some(0)) => Outcome::Success,
        (Ok(()), Some(status)) => Outcome::Failure(format!("script ended with {status}: {last} (log: {log})")),
        (Ok(()), None) => Outcome::Failure(format!("ended before the script did; last: {last} (log: {log})")),
        (Err(error), _) => Outcome::Failure(format!("{error:#}; last: {last}")),
    }
}

/// Counts outcomes, and prints each test as it ends.
#[derive(Debug, Default)]
struct Report {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    failures: Vec<String>,
}

impl Test {
    /// Whether this test is selected.
    fn chooses(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    /// Runs the selected tests; the last line printed has the totals.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let in_scenarios = self.control_domain || self.two_hosts;
        let in_control_domain = in_scenarios || self.debian_guests;
        let on_machines = [self.guests, self.kernels, self.hardware, in_control_domain, self.installed].contains(&true);
        let all = !(self.host || on_machines);
        let report = Report::default();
        if all || self.host {
            host::run(&report, self.only.as_deref())?;
        }
        if (all || on_machines)
            && let Some(bench) = report.prepared("image", self.bench())
        {
            thread::scope(|scope| {
                scope.spawn(|| self.first_series(&bench, &report, all));
                self.second_series(&bench, &report, all);
            });
        }
        report.close()
    }

    /// Test guests and stock kernels.
    fn first_series(&self, bench: &Bench, report: &Report, all: bool) {
        if all || self.guests {
            guests::run(self, bench, report);
        }
        if all || self.kernels {
            kernels::run(self, bench, report);
            errors::run(self, bench, report);
            crowd::run(self, bench, report);
            threads::run(self, bench, report);
        }
    }

    /// Devices, and control domains.
    fn second_series(&self, bench: &Bench, report: &Report, all: bool) {
        if all || self.hardware {
            consoles::run(self, bench, report);
            screen::run(self, bench, report);
            microcode::run(self, bench, report);
            thunk::run(self, bench, report);
            hardware::run(self, bench, report);
            efi::run(self, bench, report);
        }
        if all || self.control_domain || self.two_hosts {
            control_domain::run(self, bench, report);
        }
        if self.debian_guests {
            debian_guests::run(self, bench, report);
        }
        if self.installed {
            installed::run(self, bench, report);
        }
    }

    fn bench(&self) -> Result<Bench> {
        emulator::need()?;
        let (accelerator, reason) = Accelerator::choose(None)?;
        eprintln!("using {accelerator}: {reason}");
        let host = Host::named(self.hypervisor.as_deref())?;
        Ok(Bench { host, accelerator, cpu: self.cpu.clone(), options: self.host_append.clone() })
    }

    /// Runs a test on a machine the requested number of times, if it is selected.
    fn on_machine(&self, report: &Report, name: &str, test: impl Fn() -> Result<Outcome>) {
        for _ in 0..if self.chooses(name) { self.repeat } else { 0 } {
            report.take(name, &test);
        }
    }
}

impl Report {
    /// Runs a test.
    fn take(&self, name: &str, test: impl Fn() -> Result<Outcome>) {
        let start = Instant::now();
        let step = Step::on_terminal(name);
        let outcome = test().unwrap_or_else(|error| Outcome::Failure(format!("{error:#}")));
        drop(step);
        self.add(name, start.elapsed(), outcome);
    }

    fn add(&self, name: &str, time: Duration, outcome: Outcome) {
        let mut counts = self.counts();
        let seconds = time.as_secs_f64();
        match outcome {
            Outcome::Success => {
                counts.passed += 1;
                print_result(&format!("PASS {name} ({seconds:.1} s)"));
            }
            Outcome::Skip(reason) => {
                counts.skipped += 1;
                print_result(&format!("SKIP {name}: {reason}"));
            }
            Outcome::Failure(reason) => {
                counts.failed += 1;
                print_result(&format!("FAIL {name} ({seconds:.1} s): {reason}"));
                counts.failures.push(name.into());
            }
        }
    }

    /// Adds the numbers of tests that another program ran and printed.
    fn add_many(&self, name: &str, passed: u64, failed: u64, skipped: u64) {
        let mut counts = self.counts();
        counts.passed += passed;
        counts.failed += failed;
        counts.skipped += skipped;
        if failed > 0 {
            counts.failures.push(name.into());
        }
    }

    /// A failed preparation counts as a failed test, so that the others still run.
    fn prepared<T>(&self, name: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(name, Duration::ZERO, Outcome::Failure(format!("{error:#}")))).ok()
    }

    fn close(&self) -> Result<ExitCode> {
        let counts = self.counts();
        ensure!(counts.passed + counts.failed + counts.skipped > 0, "there is no such test");
        if !counts.failures.is_empty() {
            println!("failed: {}", counts.failures.join(", "));
        }
        println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
        Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
