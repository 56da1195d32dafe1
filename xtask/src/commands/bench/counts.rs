//! What Paravane counts while a row is done, out of the lines that the program and Paravane have
//! printed.

use anyhow::{Context, Result, bail};

use super::figures::Figures;
use super::way::Way;

/// Takes the counters out of the lines between the marks. What the marks themselves cost is known
/// from a row that does nothing.
pub(super) fn add(way: Way, lines: &[String], figures: &mut Figures) -> Result<()> {
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
                        figures.add_count(row, way, &name, (value as f64 - own as f64) / times as f64);
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
