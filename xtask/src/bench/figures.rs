//! What was measured, and the forms that it is shown in.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Style};

use super::way::Way;

/// The unit of what rows cost.
pub(super) const INSTRUCTIONS: &str = "instructions";
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
        self.push(row, way, instructions as f64, INSTRUCTIONS.into());
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

    /// What a row costs in a way.
    pub(super) fn cost(&self, row: &str, way: Way) -> Option<f64> {
        self.value(row, way, INSTRUCTIONS)
    }

    /// Rows that have a cost, in order.
    pub(super) fn rows(&self) -> Vec<&str> {
        let mut rows = Vec::new();
        for figure in self.all.iter().filter(|figure| figure.unit == INSTRUCTIONS) {
            if !rows.contains(&figure.row.as_str()) {
                rows.push(figure.row.as_str());
            }
        }
        rows
    }

    /// Takes over what is missing here.
    pub(super) fn fill_from(&mut self, other: &Self) {
        for figure in &other.all {
            if self.value(&figure.row, figure.way, &figure.unit).is_none() {
                self.all.push(figure.clone());
            }
        }
    }

    /// What a way costs over the bare machine, as a part of what Xen's way costs over it.
    pub(super) fn share(&self, row: &str, way: Way) -> Option<f64> {
        let bare = self.cost(row, Way::Bare)?;
        let xen = self.cost(row, way.rival()?)? - bare;
        (xen > 0.0).then_some((self.cost(row, way)? - bare) / xen)
    }

    /// The table for people.
    pub(super) fn table(&self) -> String {
        let ways: Vec<Way> =
            Way::ALL.into_iter().filter(|way| self.all.iter().any(|figure| figure.way == *way)).collect();
        let rivals: Vec<Way> =
            ways.iter().copied().filter(|way| way.rival().is_some_and(|xen| ways.contains(&xen))).collect();
        let mut table = Builder::default();
        let heads = ways.iter().map(Way::to_string);
        let shares = rivals.iter().map(|way| format!("share of Xen's extra, {}", way.role()));
        table.push_record(["instructions".into()].into_iter().chain(heads).chain(shares));
        for row in self.rows() {
            let costs = ways.iter().map(|way| self.cost(row, *way).map_or_else(String::new, grouped));
            let shares =
                rivals.iter().map(|way| self.share(row, *way).map_or_else(String::new, |share| format!("{share:.2}")));
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
        for figure in self.all.iter().filter(|figure| figure.unit == INSTRUCTIONS) {
            let Some(before) = earlier.cost(&figure.row, figure.way) else { continue };
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
    use super::{Figures, grouped};
    use crate::bench::Way;

    #[test]
    fn the_share_is_of_what_xen_costs_over_the_bare_machine() {
        let mut figures = Figures::default();
        for (way, cost) in [(Way::Bare, 100), (Way::XenGuest, 500), (Way::ParavaneGuest, 200)] {
            figures.add("row", way, cost);
        }
        assert_eq!(figures.share("row", Way::ParavaneGuest), Some(0.25));
        assert_eq!(figures.share("row", Way::ParavaneDom0), None);
        assert_eq!(figures.share("other", Way::ParavaneGuest), None);
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
    fn thousands_stand_apart() {
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0, -1000.0].map(grouped), ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }
}
