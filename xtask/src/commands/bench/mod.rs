//! `cargo xtask bench`: runs the same kernel and the same program on the bare machine, on Debian's
//! Xen and on Paravane, and counts instructions.

mod chart;
mod configuration;
mod control;
mod counts;
mod figures;
mod kernel;
mod program;
mod scaling;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

pub(crate) use self::configuration::{COUNTED, Configuration, Defences, UNDEFENDED};
use self::figures::Figures;
pub(crate) use self::program::ramdisk;
use crate::virtual_machine::emulator;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Measure this row only (may be given more than once)
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Measure in this configuration only (may be given more than once)
    #[arg(long = "configuration", alias = "configuration", value_enum, value_name = "CONFIGURATION")]
    configurations: Vec<Configuration>,
    /// Defences of Xen and Paravane against transient execution
    #[arg(long, value_enum, default_value_t = Defences::None, value_name = "WHICH")]
    defences: Defences,
    /// Do not read Paravane's counters for each operation
    #[arg(long)]
    no_counters: bool,
    /// Measure how throughput grows with CPUs and guests instead, in operations per second of wall
    /// time
    #[arg(long, conflicts_with_all = ["only", "no_counters"])]
    scaling: bool,
    /// Write the figures for scripts: objects with row, configuration, value, unit
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Compare with the figures of an earlier run; rows that are not measured now are taken from it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

impl Bench {
    /// Measures and prints the table.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        emulator::need()?;
        let baseline = self.baseline.as_ref().map(read).transpose()?;
        let mut figures = Figures::default();
        // Show what was measured even if something failed.
        let mut failed = Vec::new();
        let configurations =
            if self.configurations.is_empty() { Configuration::ALL.to_vec() } else { self.configurations.clone() };
        if self.scaling {
            failed.extend(scaling::measure(&configurations, self.defences, &mut figures));
        } else {
            for configuration in configurations {
                failed.extend(
                    self.measure(configuration, &mut figures)
                        .with_context(|| format!("in the configuration {configuration}"))
                        .err(),
                );
            }
        }
        for error in &failed {
            eprintln!("error: {error:#}");
        }
        if figures.is_empty() {
            bail!("nothing was measured");
        }
        if let Some(baseline) = &baseline {
            println!("{}\n", figures.differences(baseline));
            figures.fill_from(baseline);
        }
        if let Some(file) = &self.json {
            fs::write(file, figures.to_json()?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        println!("{}", figures.tables());
        if let Some(counts) = figures.counts() {
            println!("\n{counts}");
        }
        if let Some(file) = &self.chart {
            fs::write(file, chart::draw(&figures)).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Bench {
    fn measure(&self, configuration: Configuration, figures: &mut Figures) -> Result<()> {
        let wanted = |rows: &[&str]| rows.iter().any(|row| self.is_wanted(row));
        let of_program: Vec<String> = self.only.iter().filter(|row| exists_on_bare(row)).cloned().collect();
        let program = self.only.is_empty() || !of_program.is_empty();
        if program
            && matches!(configuration, Configuration::Bare | Configuration::XenDom0 | Configuration::ParavaneDom0)
        {
            program::measure(configuration, self.defences, &of_program, figures)?;
        }
        if program && configuration.is_paravane() && !self.no_counters {
            program::count(configuration, self.defences, &of_program, figures)?;
        }
        if matches!(configuration, Configuration::XenDom0 | Configuration::ParavaneDom0) && wanted(kernel::ROWS) {
            kernel::measure(configuration, self.defences, figures)?;
        }
        let in_guest = [control::ROWS, kernel::HYPERCALLS].concat();
        if matches!(configuration, Configuration::XenGuest | Configuration::ParavaneGuest)
            && (wanted(&in_guest) || program)
        {
            control::measure(configuration, self.defences, &of_program, |row| self.is_wanted(row), figures)?;
        }
        Ok(())
    }

    fn is_wanted(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == row)
    }
}

/// Whether the row exists on the bare machine.
fn exists_on_bare(row: &str) -> bool {
    ![kernel::ROWS, control::ROWS].concat().contains(&row)
}

fn read(file: &PathBuf) -> Result<Figures> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Figures::from_json(&text).with_context(|| format!("{} holds no figures", file.display()))
}
