//! `cargo xtask bench`: the same kernel and the same program on the bare machine, on Debian's Xen
//! and on Paravane, counted in instructions.

mod chart;
mod control;
mod counts;
mod figures;
mod kernel;
mod program;
mod scaling;
mod way;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::figures::Figures;
pub(crate) use self::program::ramdisk;
pub(crate) use self::way::{COUNTED, UNDEFENDED, Way};
use crate::virtual_machine::emulator;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Measure this row only (may be given more than once)
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Measure in this way only (may be given more than once)
    #[arg(long = "way", value_enum, value_name = "WAY")]
    ways: Vec<Way>,
    /// Leave out what Paravane counts for each operation
    #[arg(long)]
    no_counters: bool,
    /// Measure how throughput grows with CPUs and guests instead, in operations per second of the
    /// clock
    #[arg(long, conflicts_with_all = ["only", "no_counters"])]
    scaling: bool,
    /// Write the figures for scripts: objects of row, way, value, unit
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Compare with the figures of an earlier run; what is not measured now is taken from there
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

impl Bench {
    /// Measures and prints the table.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        emulator::need()?;
        let baseline = self.baseline.as_ref().map(read).transpose()?;
        let mut figures = Figures::default();
        // What was measured is shown, whatever failed.
        let mut failed = Vec::new();
        let ways = if self.ways.is_empty() { Way::ALL.to_vec() } else { self.ways.clone() };
        if self.scaling {
            failed.extend(scaling::measure(&ways, &mut figures));
        } else {
            for way in ways {
                failed.extend(self.measure(way, &mut figures).with_context(|| format!("in the way {way}")).err());
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
    fn measure(&self, way: Way, figures: &mut Figures) -> Result<()> {
        let wanted = |rows: &[&str]| rows.iter().any(|row| self.is_wanted(row));
        let of_program: Vec<String> = self.only.iter().filter(|row| exists_on_bare(row)).cloned().collect();
        let program = self.only.is_empty() || !of_program.is_empty();
        if program && matches!(way, Way::Bare | Way::XenDom0 | Way::ParavaneDom0) {
            program::measure(way, &of_program, figures)?;
        }
        if program && way.is_paravane() && !self.no_counters {
            program::count(way, &of_program, figures)?;
        }
        if matches!(way, Way::XenDom0 | Way::ParavaneDom0) && wanted(kernel::ROWS) {
            kernel::measure(way, figures)?;
        }
        let in_guest = [control::ROWS, kernel::HYPERCALLS].concat();
        if matches!(way, Way::XenGuest | Way::ParavaneGuest) && (wanted(&in_guest) || program) {
            control::measure(way, &of_program, |row| self.is_wanted(row), figures)?;
        }
        Ok(())
    }

    fn is_wanted(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == row)
    }
}

/// Whether the bare machine can do the row too.
fn exists_on_bare(row: &str) -> bool {
    ![kernel::ROWS, control::ROWS].concat().contains(&row)
}

fn read(file: &PathBuf) -> Result<Figures> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Figures::from_json(&text).with_context(|| format!("{} holds no figures", file.display()))
}
