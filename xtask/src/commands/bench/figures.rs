//! Measured figures, and the forms in which they are shown.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tabled::builder::Builder;

use super::configuration::Configuration;
use crate::foundation::table::markdown;

/// Unit of costs.
pub(super) const INSTRUCTIONS: &str = "instructions";
/// Unit of memory use.
pub(super) const BYTES: &str = "bytes";
/// Unit of throughput on several processors; more is better.
pub(super) const PER_SECOND: &str = "operations/s";
/// Unit of Paravane's counters: `NAME/operation`.
const PER_OPERATION: &str = "/operation";

/// One figure.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    row: String,
    configuration: Configuration,
    value: f64,
    unit: String,
}

/// All figures in the order of measurement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    all: Vec<Figure>,
}

impl Figures {
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds the cost of a row.
    pub(super) fn add(&mut self, row: &str, configuration: Configuration, instructions: u64) {
        self.add_of(row, configuration, instructions as f64, INSTRUCTIONS);
    }

    /// Adds a figure of that unit.
    pub(super) fn add_of(&mut self, row: &str, configuration: Configuration, value: f64, unit: &str) {
        self.push(row, configuration, value, unit.into());
    }

    /// Adds the number of increments of `counter` per operation of a row.
    pub(super) fn add_count(&mut self, row: &str, configuration: Configuration, counter: &str, count: f64) {
        self.push(row, configuration, count, format!("{counter}{PER_OPERATION}"));
    }

    fn push(&mut self, row: &str, configuration: Configuration, value: f64, unit: String) {
        self.all.push(Figure { row: row.into(), configuration, value, unit });
    }

    fn value(&self, row: &str, configuration: Configuration, unit: &str) -> Option<f64> {
        let wanted =
            |figure: &&Figure| figure.row == row && figure.configuration == configuration && figure.unit == unit;
        self.all.iter().find(wanted).map(|figure| figure.value)
    }

    /// Rows that have figures of a unit, in order.
    pub(super) fn rows(&self, unit: &str) -> Vec<&str> {
        let mut rows = Vec::new();
        for figure in self.all.iter().filter(|figure| figure.unit == unit) {
            if !rows.contains(&figure.row.as_str()) {
                rows.push(figure.row.as_str());
            }
        }
        rows
    }

    /// Configurations that have figures of a unit in some of the rows.
    fn configurations(&self, unit: &str, rows: &[&str]) -> Vec<Configuration> {
        let is_there =
            |configuration: &Configuration| rows.iter().any(|row| self.value(row, *configuration, unit).is_some());
        Configuration::ALL.into_iter().filter(is_there).collect()
    }

    /// Takes figures that are missing here from `other`.
    pub(super) fn fill_from(&mut self, other: &Self) {
        for figure in &other.all {
            if self.value(&figure.row, figure.configuration, &figure.unit).is_none() {
                self.all.push(figure.clone());
            }
        }
    }

    /// Overhead of a configuration over the bare machine, as a fraction of the overhead of its Xen
    /// counterpart. A row that does not exist on the bare machine has a base cost of zero.
    pub(super) fn share(&self, row: &str, configuration: Configuration, unit: &str) -> Option<f64> {
        let bare = match self.value(row, Configuration::Bare, unit) {
            None if unit == INSTRUCTIONS && super::exists_on_bare(row) => return None,
            bare => bare.unwrap_or(0.0),
        };
        let xen = self.value(row, configuration.rival()?, unit)? - bare;
        (xen > 0.0).then_some((self.value(row, configuration, unit)? - bare) / xen)
    }

    /// The tables for people, one for each unit.
    pub(super) fn tables(&self) -> String {
        let units = [INSTRUCTIONS, BYTES, PER_SECOND];
        let mut tables = Vec::new();
        for unit in units {
            let is_bare = |row: &&str| self.value(row, Configuration::Bare, unit).is_some();
            let (beyond_bare, alone): (Vec<&str>, Vec<&str>) = self.rows(unit).into_iter().partition(is_bare);
            tables.push(self.table(unit, &beyond_bare, "share of Xen's extra"));
            tables.push(self.table(unit, &alone, "part of Xen's"));
        }
        tables.push(self.growth());
        tables.retain(|table| !table.is_empty());
        tables.join("\n\n")
    }

    /// Throughput as a multiple of the first row of the same series, for all other rows. Empty if
    /// there are none.
    fn growth(&self) -> String {
        let rows = self.rows(PER_SECOND);
        let configurations = self.configurations(PER_SECOND, &rows);
        let mut table = Builder::default();
        table.push_record(
            ["times as many".into()].into_iter().chain(configurations.iter().map(Configuration::to_string)),
        );
        for row in &rows {
            let times = configurations.iter().map(|configuration| {
                let (first, value) =
                    (self.first_of_series(row, *configuration)?, self.value(row, *configuration, PER_SECOND)?);
                (first != *row).then_some(value / self.value(first, *configuration, PER_SECOND)?)
            });
            let times: Vec<Option<f64>> = times.collect();
            if times.iter().any(Option::is_some) {
                let texts =
                    times.into_iter().map(|times| times.map_or_else(String::new, |times| format!("{times:.2}")));
                table.push_record([(*row).to_owned()].into_iter().chain(texts));
            }
        }
        if table.count_records() > 1 { markdown(table) } else { String::new() }
    }

    /// The first row of a configuration that equals `row` except for the last count.
    fn first_of_series(&self, row: &str, configuration: Configuration) -> Option<&str> {
        let (series, _) = row.rsplit_once(", ")?;
        let is_of_series = |other: &&str| {
            other.rsplit_once(", ").is_some_and(|(other, _)| other == series)
                && self.value(other, configuration, PER_SECOND).is_some()
        };
        self.rows(PER_SECOND).into_iter().find(is_of_series)
    }

    /// A table of some rows; Paravane's figures are compared with `share`. Empty if there are none.
    fn table(&self, unit: &str, rows: &[&str], share: &str) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let configurations = self.configurations(unit, rows);
        let rivals: Vec<Configuration> = configurations
            .iter()
            .copied()
            .filter(|configuration| configuration.rival().is_some_and(|xen| configurations.contains(&xen)))
            .collect();
        let mut table = Builder::default();
        let heads = configurations.iter().map(Configuration::to_string);
        let shares = rivals.iter().map(|configuration| format!("{share}, {}", configuration.role()));
        table.push_record([unit.into()].into_iter().chain(heads).chain(shares));
        for &row in rows {
            let costs = configurations
                .iter()
                .map(|configuration| self.value(row, *configuration, unit).map_or_else(String::new, grouped));
            let share = |configuration: &Configuration| self.share(row, *configuration, unit);
            let shares = rivals
                .iter()
                .map(|configuration| share(configuration).map_or_else(String::new, |share| format!("{share:.2}")));
            table.push_record([row.into()].into_iter().chain(costs).chain(shares));
        }
        markdown(table)
    }

    /// The table of counters, if there are any.
    pub(super) fn counts(&self) -> Option<String> {
        let mut counters: Vec<&str> = Vec::new();
        let mut lines: Vec<(&str, Configuration)> = Vec::new();
        for figure in &self.all {
            let Some(counter) = figure.unit.strip_suffix(PER_OPERATION) else { continue };
            if figure.value.abs() >= 0.05 && !counters.contains(&counter) {
                counters.push(counter);
            }
            if !lines.contains(&(&figure.row, figure.configuration)) {
                lines.push((&figure.row, figure.configuration));
            }
        }
        let mut table = Builder::default();
        table.push_record(["per operation", "configuration"].into_iter().chain(counters.iter().copied()));
        for &(row, configuration) in &lines {
            let counts = counters.iter().map(|counter| {
                let count = self.value(row, configuration, &format!("{counter}{PER_OPERATION}")).unwrap_or(0.0);
                if count.abs() < 0.05 { String::new() } else { format!("{count:.1}") }
            });
            table.push_record([row.to_owned(), configuration.to_string()].into_iter().chain(counts));
        }
        (!lines.is_empty()).then(|| markdown(table))
    }

    /// Lists what has changed since `earlier`.
    pub(super) fn differences(&self, earlier: &Self) -> String {
        let mut table = Builder::default();
        table.push_record(["row", "configuration", "before", "now", "change"]);
        let mut largest: f64 = 0.0;
        for figure in self.all.iter().filter(|figure| !figure.unit.ends_with(PER_OPERATION)) {
            let Some(before) = earlier.value(&figure.row, figure.configuration, &figure.unit) else { continue };
            let change = if before == 0.0 { 0.0 } else { (figure.value - before) / before * 100.0 };
            largest = largest.max(change.abs());
            let configuration = figure.configuration.to_string();
            table.push_record([
                figure.row.clone(),
                configuration,
                grouped(before),
                grouped(figure.value),
                format!("{change:+.2} %"),
            ]);
        }
        format!("{}\nlargest change: {largest:.2} %", markdown(table))
    }

    /// The figures as JSON, for scripts.
    pub(super) fn to_json(&self) -> Result<String> {
        let list: Vec<Value> = self
            .all
            .iter()
            .map(|figure| {
                json!({ "row": figure.row, "configuration": figure.configuration.to_string(), "value": figure.value, "unit": figure.unit })
            })
            .collect();
        Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
    }

    /// Reads the output of [`Figures::to_json`].
    pub(super) fn from_json(text: &[u8]) -> Result<Self> {
        let list: Vec<Value> = serde_json::from_slice(text)?;
        let figure = |value: &Value| {
            let text =
                |key: &str| value.get(key).and_then(Value::as_str).with_context(|| format!("a figure without {key}"));
            Ok(Figure {
                row: text("row")?.into(),
                configuration: Configuration::named(text("configuration")?)?,
                value: value.get("value").and_then(Value::as_f64).context("a figure without value")?,
                unit: text("unit")?.into(),
            })
        };
        Ok(Self { all: list.iter().map(figure).collect::<Result<_>>()? })
    }
}

/// Formats a number with separated thousands.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{Figures, INSTRUCTIONS, PER_SECOND, grouped};
    use crate::commands::bench::Configuration;

    #[test]
    fn the_share_is_of_what_xen_costs_over_the_bare_machine() {
        let mut figures = Figures::default();
        for (configuration, cost) in
            [(Configuration::Bare, 100), (Configuration::XenGuest, 500), (Configuration::ParavaneGuest, 200)]
        {
            figures.add("row", configuration, cost);
        }
        assert_eq!(figures.share("row", Configuration::ParavaneGuest, INSTRUCTIONS), Some(0.25));
        assert_eq!(figures.share("row", Configuration::ParavaneDom0, INSTRUCTIONS), None);
        assert_eq!(figures.share("other", Configuration::ParavaneGuest, INSTRUCTIONS), None);
    }

    #[test]
    fn what_the_bare_machine_cannot_do_is_compared_as_it_is() {
        let mut figures = Figures::default();
        for row in ["hypercall-empty", "getppid"] {
            figures.add(row, Configuration::XenDom0, 500);
            figures.add(row, Configuration::ParavaneDom0, 200);
        }
        assert_eq!(figures.share("hypercall-empty", Configuration::ParavaneDom0, INSTRUCTIONS), Some(0.4));
        assert_eq!(figures.share("getppid", Configuration::ParavaneDom0, INSTRUCTIONS), None);
    }

    #[test]
    fn figures_survive_json() {
        let mut figures = Figures::default();
        figures.add("row", Configuration::Bare, 100);
        figures.add_count("row", Configuration::ParavaneGuest, "traps", 1.5);
        let back = Figures::from_json(figures.to_json().expect("plain").as_bytes()).expect("just written");
        assert_eq!(back.all, figures.all);
        assert!(Figures::from_json(b"[{\"row\": \"a\"}]").is_err());
        assert!(Figures::from_json(b"{").is_err());
    }

    #[test]
    fn throughput_grows_from_the_first_of_its_series() {
        let mut figures = Figures::default();
        let rates =
            [("exec, 2 pCPUs, 1 vCPU", 50.0), ("exec, 2 pCPUs, 2 vCPUs", 90.0), ("exec, 4 pCPUs, 4 vCPUs", 70.0)];
        for (row, rate) in rates {
            figures.add_of(row, Configuration::ParavaneDom0, rate, PER_SECOND);
        }
        figures.add_of("exec, 4 pCPUs, 1 guest", Configuration::ParavaneGuest, 40.0, PER_SECOND);
        figures.add_of("exec, 4 pCPUs, 16 guests", Configuration::ParavaneGuest, 140.0, PER_SECOND);
        let lines: Vec<String> = figures.growth().lines().skip(2).map(|line| line.replace(' ', "")).collect();
        assert_eq!(lines, ["|exec,2pCPUs,2vCPUs|1.80||", "|exec,4pCPUs,16guests||3.50|"]);
        assert_eq!(Figures::default().growth(), "");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0, -1000.0].map(grouped), ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }
}
