//! What was measured, and the forms that it is shown in.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::way::Way;

/// The unit of what rows cost.
pub(super) const INSTRUCTIONS: &str = "instructions";
/// The unit of what rows take of the machine's memory.
pub(super) const BYTES: &str = "bytes";
/// The unit of what is done in a second, on several processors: here more is better.
pub(super) const PER_SECOND: &str = "operations/s";
/// The unit of Paravane's counters: `NAME/operation`.
const PER_OPERATION: &str = "/operation";

/// One figure.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    row: String,
    way: Way,
    value: f64,
    unit: String,
}

/// All figures, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    all: Vec<Figure>,
}

impl Figures {
    pub(super) const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds what a row costs.
    pub(super) fn add(&mut self, row: &str, way: Way, instructions: u64) {
        self.add_of(row, way, instructions as f64, INSTRUCTIONS);
    }

    /// Adds a figure of that unit.
    pub(super) fn add_of(&mut self, row: &str, way: Way, value: f64, unit: &str) {
        self.push(row, way, value, unit.into());
    }

    /// Adds how often `counter` went up for each operation of a row.
    pub(super) fn add_count(&mut self, row: &str, way: Way, counter: &str, count: f64) {
        self.push(row, way, count, format!("{counter}{PER_OPERATION}"));
    }

    fn push(&mut self, row: &str, way: Way, value: f64, unit: String) {
        self.all.push(Figure { row: row.into(), way, value, unit });
    }

    fn value(&self, row: &str, way: Way, unit: &str) -> Option<f64> {
        let wanted = |figure: &&Figure| figure.row == row && figure.way == way && figure.unit == unit;
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

    /// Ways that have figures of a unit in some of the rows.
    fn ways(&self, unit: &str, rows: &[&str]) -> Vec<Way> {
        let is_there = |way: &Way| rows.iter().any(|row| self.value(row, *way, unit).is_some());
        Way::ALL.into_iter().filter(is_there).collect()
    }

    /// Takes over what is missing here.
    pub(super) fn fill_from(&mut self, other: &Self) {
        for figure in &other.all {
            if self.value(&figure.row, figure.way, &figure.unit).is_none() {
                self.all.push(figure.clone());
            }
        }
    }

    /// What a way costs over the bare machine, as a part of what Xen's way costs over it. A row
    /// that the bare machine cannot have costs nothing there.
    pub(super) fn share(&self, row: &str, way: Way, unit: &str) -> Option<f64> {
        let bare = match self.value(row, Way::Bare, unit) {
            None if unit == INSTRUCTIONS && super::exists_on_bare(row) => return None,
            bare => bare.unwrap_or(0.0),
        };
        let xen = self.value(row, way.rival()?, unit)? - bare;
        (xen > 0.0).then_some((self.value(row, way, unit)? - bare) / xen)
    }

    /// The tables for people, one for each unit.
    pub(super) fn tables(&self) -> String {
        let units = [INSTRUCTIONS, BYTES, PER_SECOND];
        let mut tables = Vec::new();
        for unit in units {
            let is_bare = |row: &&str| self.value(row, Way::Bare, unit).is_some();
            let (beyond_bare, alone): (Vec<&str>, Vec<&str>) = self.rows(unit).into_iter().partition(is_bare);
            tables.push(self.table(unit, &beyond_bare, "share of Xen's extra"));
            tables.push(self.table(unit, &alone, "part of Xen's"));
        }
        tables.push(self.growth());
        tables.retain(|table| !table.is_empty());
        tables.join("\n\n")
    }

    /// Throughput as a multiple of the first row's of the same series, for each row but that. Empty
    /// if there is none.
    fn growth(&self) -> String {
        let rows = self.rows(PER_SECOND);
        let ways = self.ways(PER_SECOND, &rows);
        let mut table = Builder::default();
        table.push_record(["times as many".into()].into_iter().chain(ways.iter().map(Way::to_string)));
        for row in &rows {
            let times = ways.iter().map(|way| {
                let (first, value) = (self.first_of_series(row, *way)?, self.value(row, *way, PER_SECOND)?);
                (first != *row).then_some(value / self.value(first, *way, PER_SECOND)?)
            });
            let times: Vec<Option<f64>> = times.collect();
            if times.iter().any(Option::is_some) {
                let texts =
                    times.into_iter().map(|times| times.map_or_else(String::new, |times| format!("{times:.2}")));
                table.push_record([(*row).to_owned()].into_iter().chain(texts));
            }
        }
        if table.count_records() > 1 { aligned(table) } else { String::new() }
    }

    /// The first row of a way that differs from `row` in the last count at most.
    fn first_of_series(&self, row: &str, way: Way) -> Option<&str> {
        let (series, _) = row.rsplit_once(", ")?;
        let is_of_series = |other: &&str| {
            other.rsplit_once(", ").is_some_and(|(other, _)| other == series)
                && self.value(other, way, PER_SECOND).is_some()
        };
        self.rows(PER_SECOND).into_iter().find(is_of_series)
    }

    /// Some rows; `share` is what Paravane's figures are compared to. Empty if there are none.
    fn table(&self, unit: &str, rows: &[&str], share: &str) -> String {
        if rows.is_empty() {
            return String::new();
        }
        let ways = self.ways(unit, rows);
        let rivals: Vec<Way> =
            ways.iter().copied().filter(|way| way.rival().is_some_and(|xen| ways.contains(&xen))).collect();
        let mut table = Builder::default();
        let heads = ways.iter().map(Way::to_string);
        let shares = rivals.iter().map(|way| format!("{share}, {}", way.role()));
        table.push_record([unit.into()].into_iter().chain(heads).chain(shares));
        for &row in rows {
            let costs = ways.iter().map(|way| self.value(row, *way, unit).map_or_else(String::new, grouped));
            let share = |way: &Way| self.share(row, *way, unit);
            let shares = rivals.iter().map(|way| share(way).map_or_else(String::new, |share| format!("{share:.2}")));
            table.push_record([row.into()].into_iter().chain(costs).chain(shares));
        }
        aligned(table)
    }

    /// The table of counters, if there are any.
    pub(super) fn counts(&self) -> Option<String> {
        let mut counters: Vec<&str> = Vec::new();
        let mut lines: Vec<(&str, Way)> = Vec::new();
        for figure in &self.all {
            let Some(counter) = figure.unit.strip_suffix(PER_OPERATION) else { continue };
            if figure.value.abs() >= 0.05 && !counters.contains(&counter) {
                counters.push(counter);
            }
            if !lines.contains(&(&figure.row, figure.way)) {
                lines.push((&figure.row, figure.way));
            }
        }
        let mut table = Builder::default();
        table.push_record(["per operation", "way"].into_iter().chain(counters.iter().copied()));
        for &(row, way) in &lines {
            let counts = counters.iter().map(|counter| {
                let count = self.value(row, way, &format!("{counter}{PER_OPERATION}")).unwrap_or(0.0);
                if count.abs() < 0.05 { String::new() } else { format!("{count:.1}") }
            });
            table.push_record([row.to_owned(), way.to_string()].into_iter().chain(counts));
        }
        (!lines.is_empty()).then(|| aligned(table))
    }

    /// What has changed since `earlier`.
    pub(super) fn differences(&self, earlier: &Self) -> String {
        let mut table = Builder::default();
        table.push_record(["row", "way", "before", "now", "change"]);
        let mut largest: f64 = 0.0;
        for figure in self.all.iter().filter(|figure| !figure.unit.ends_with(PER_OPERATION)) {
            let Some(before) = earlier.value(&figure.row, figure.way, &figure.unit) else { continue };
            let change = if before == 0.0 { 0.0 } else { (figure.value - before) / before * 100.0 };
            largest = largest.max(change.abs());
            let way = figure.way.to_string();
            table.push_record([
                figure.row.clone(),
                way,
                grouped(before),
                grouped(figure.value),
                format!("{change:+.2} %"),
            ]);
        }
        format!("{}\nlargest change: {largest:.2} %", aligned(table))
    }

    /// For scripts.
    pub(super) fn to_json(&self) -> Result<String> {
        let list: Vec<Value> = self
            .all
            .iter()
            .map(|figure| {
                json!({ "row": figure.row, "way": figure.way.to_string(), "value": figure.value, "unit": figure.unit })
            })
            .collect();
        Ok(format!("{}\n", serde_json::to_string_pretty(&list)?))
    }

    /// What [`Figures::to_json`] has written.
    pub(super) fn from_json(text: &[u8]) -> Result<Self> {
        let list: Vec<Value> = serde_json::from_slice(text)?;
        let figure = |value: &Value| {
            let text =
                |key: &str| value.get(key).and_then(Value::as_str).with_context(|| format!("a figure without {key}"));
            Ok(Figure {
                row: text("row")?.into(),
                way: Way::named(text("way")?)?,
                value: value.get("value").and_then(Value::as_f64).context("a figure without value")?,
                unit: text("unit")?.into(),
            })
        };
        Ok(Self { all: list.iter().map(figure).collect::<Result<_>>()? })
    }
}

/// A number with its thousands apart.
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

fn aligned(table: Builder) -> String {
    let mut table = table.build();
    table.with(Style::markdown()).modify(Columns::new(1..), Alignment::right());
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::{Figures, INSTRUCTIONS, PER_SECOND, grouped};
    use crate::commands::bench::Way;

    #[test]
    fn the_share_is_of_what_xen_costs_over_the_bare_machine() {
        let mut figures = Figures::default();
        for (way, cost) in [(Way::Bare, 100), (Way::XenGuest, 500), (Way::ParavaneGuest, 200)] {
            figures.add("row", way, cost);
        }
        assert_eq!(figures.share("row", Way::ParavaneGuest, INSTRUCTIONS), Some(0.25));
        assert_eq!(figures.share("row", Way::ParavaneDom0, INSTRUCTIONS), None);
        assert_eq!(figures.share("other", Way::ParavaneGuest, INSTRUCTIONS), None);
    }

    #[test]
    fn what_the_bare_machine_cannot_do_is_compared_as_it_is() {
        let mut figures = Figures::default();
        for row in ["hypercall-empty", "getppid"] {
            figures.add(row, Way::XenDom0, 500);
            figures.add(row, Way::ParavaneDom0, 200);
        }
        assert_eq!(figures.share("hypercall-empty", Way::ParavaneDom0, INSTRUCTIONS), Some(0.4));
        assert_eq!(figures.share("getppid", Way::ParavaneDom0, INSTRUCTIONS), None);
    }

    #[test]
    fn figures_survive_the_way_through_json() {
        let mut figures = Figures::default();
        figures.add("row", Way::Bare, 100);
        figures.add_count("row", Way::ParavaneGuest, "traps", 1.5);
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
            figures.add_of(row, Way::ParavaneDom0, rate, PER_SECOND);
        }
        figures.add_of("exec, 4 pCPUs, 1 guest", Way::ParavaneGuest, 40.0, PER_SECOND);
        figures.add_of("exec, 4 pCPUs, 16 guests", Way::ParavaneGuest, 140.0, PER_SECOND);
        let lines: Vec<String> = figures.growth().lines().skip(2).map(|line| line.replace(' ', "")).collect();
        assert_eq!(lines, ["|exec,2pCPUs,2vCPUs|1.80||", "|exec,4pCPUs,16guests||3.50|"]);
        assert_eq!(Figures::default().growth(), "");
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0, -1000.0].map(grouped), ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }
}
