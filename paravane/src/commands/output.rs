//! What the user sees: lines and a progress bar, or JSON.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::link::{Finding, Severity};
use crate::migration::{Moved, Report};

/// Time between two lines of JSON about pages that were sent.
const PACE: Duration = Duration::from_secs(1);

/// Where reports go: results to standard output, the rest to standard error.
pub(super) enum Output {
    /// A line of JSON for each event.
    Json { last: Instant },
    /// Text, with a bar if standard error is a terminal.
    Text { bar: ProgressBar },
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        if json {
            return Self::Json { last: Instant::now() };
        }
        let bar = if std::io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").unwrap_or(ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::Text { bar }
    }

    /// A line for the user.
    fn line(bar: &ProgressBar, text: &str) {
        bar.suspend(|| eprintln!("{text}"));
    }

    pub(super) fn findings(&self, findings: &[Finding]) {
        match self {
            Self::Json { .. } => print(&json!({"event": "checked", "findings": findings})),
            Self::Text { bar } => {
                for Finding { check, severity, text } in findings {
                    let sign = match severity {
                        Severity::Passed => "ok",
                        Severity::Warning => "warning",
                        Severity::Failed => "FAILED",
                    };
                    Self::line(bar, &format!("{sign:8} {check:10} {text}"));
                }
            }
        }
    }

    pub(super) fn report(&mut self, report: &Report) {
        match self {
            Self::Json { last } => {
                if matches!(report, Report::Sent { .. }) && last.elapsed() < PACE {
                    return;
                }
                *last = Instant::now();
                print(report);
            }
            Self::Text { bar } => match report {
                Report::Accepted => Self::line(bar, "the target has created the guest"),
                Report::Round { round, pages, dirty_rate, estimate } => {
                    let mut text = format!("round {round}: {} pages", HumanCount(*pages));
                    if let Some(rate) = dirty_rate {
                        text += &format!(", the guest writes {} pages/s", HumanCount(*rate));
                    }
                    if let Some(estimate) = estimate {
                        text += &format!(", {estimate} ms to send");
                    }
                    Self::line(bar, &text);
                }
                Report::Sent { pages, zero, bytes } => bar.set_message(format!(
                    "{} pages and {} of zeros sent, {}",
                    HumanCount(*pages),
                    HumanCount(*zero),
                    HumanBytes(*bytes)
                )),
                Report::Throttled { percent } => {
                    Self::line(bar, &format!("the guest is slowed down to {percent} % of its vCPUs' time"));
                }
                Report::Suspended => Self::line(bar, "the guest is suspended"),
                Report::Note { text } => Self::line(bar, text),
                Report::Moved(Moved { name, downtime, time, bytes, pages, zero, .. }) => {
                    bar.finish_and_clear();
                    println!(
                        "'{name}' has moved in {time} ms, suspended for {downtime} ms; \
                         {} pages and {} of zeros, {}",
                        HumanCount(*pages),
                        HumanCount(*zero),
                        HumanBytes(*bytes)
                    );
                }
            },
        }
    }

    /// The result of a command that moved nothing.
    pub(super) fn result(&self, event: &str, id: Option<&str>, text: &str) {
        match self {
            Self::Json { .. } => print(&json!({"event": event, "id": id, "text": text})),
            Self::Text { bar } => {
                bar.finish_and_clear();
                eprintln!("paravane: {text}");
            }
        }
    }
}

/// Prints a line of JSON. A reader that is gone does not end a migration.
fn print(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
