//! `cargo xtask bench`: the same kernel and the same program on the bare machine, on Debian's Xen and on Paravane, counted in instructions.

mod chart;
mod figures;
mod way;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::figures::Figures;
pub(crate) use self::way::{Way, ramdisk};
use crate::packages;
use crate::qemu;

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
    /// Write the figures for scripts: objects of row, way, value, unit
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the figures as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Compare with the figures of an earlier run; ways not measured now are taken from there
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
}

impl Bench {
    /// Measures and prints the table.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        packages::need_program(qemu::QEMU, qemu::QEMU_PACKAGE)?;
        let baseline = self.baseline.as_ref().map(read).transpose()?;
        let ways = if self.ways.is_empty() { Way::ALL.to_vec() } else { self.ways.clone() };
        let mut figures = Figures::default();
        for way in ways {
            let counters = way.is_paravane() && !self.no_counters;
            way.measure(&self.only, counters, &mut figures).with_context(|| format!("in the way {way}"))?;
        }
        if figures.is_empty() {
            bail!("nothing was measured");
        }
        if let Some(file) = &self.json {
            fs::write(file, figures.to_json()?).with_context(|| format!("cannot write {}", file.display()))?;
        }
        if let Some(baseline) = &baseline {
            println!("{}\n", figures.differences(baseline));
            figures.fill_from(baseline);
        }
        println!("{}", figures.table());
        if let Some(counts) = figures.counts() {
            println!("\n{counts}");
        }
        if let Some(file) = &self.chart {
            fs::write(file, chart::draw(&figures)).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: &PathBuf) -> Result<Figures> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Figures::from_json(&text).with_context(|| format!("{} holds no figures", file.display()))
}
