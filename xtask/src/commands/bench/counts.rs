//! Paravane's performance counters for one row, read from the lines that the program and Paravane
//! print.

use anyhow::{Context, Result, bail};

use super::configuration::Configuration;
use super::figures::Figures;

/// Reads the counters between the marks. A row that does nothing gives the cost of the marks
/// themselves.
pub(super) fn add(configuration: Configuration, lines: &[String], figures: &mut Figures) -> Result<()> {
    let mut readings: Vec<(String, u64)> = Vec::new();
    let mut before = Vec::new();
    let mut marks: Vec<(String, u64)> = Vec::new();
    let mut mark = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("counter ") {
            let (name, value) = rest.rsplit_once(' ').context("a counter without value")?;
            readings.push((name.into(), value.parse().context("a counter that is no number")?));
        } else if line.starts_with("serial input goes to guest") {
            let reading = core::mem::take(&mut readings);
            let mut words = mark.split(' ');
            match (words.next(), words.next(), words.next().and_then(|times| times.parse::<u64>().ok())) {
                (Some("begin"), ..) => before = reading,
                (Some("end"), Some(row), Some(times)) => {
                    let since = |(name, value): &(String, u64)| {
                        let start = before.iter().find(|(other, _)| other == name).map_or(0, |(_, value)| *value);
                        (name.clone(), value - start)
                    };
                    let counts: Vec<(String, u64)> = reading.iter().map(since).collect();
                    if row == "none" {
                        marks = counts;
                        continue;
                    }
                    for (name, value) in counts {
                        let own = marks.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value);
                        figures.add_count(row, configuration, &name, (value as f64 - own as f64) / times as f64);
                    }
                }
                _ => bail!("counters without a mark"),
            }
        } else if line.starts_with("begin ") || line.starts_with("end ") {
            mark.clone_from(line);
        }
    }
    Ok(())
}
