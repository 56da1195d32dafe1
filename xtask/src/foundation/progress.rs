//! Progress on standard error: a spinner on a terminal, else a line for each step. Standard output
//! is reserved for results.

use std::io::{IsTerminal, stderr};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The spinners of all threads.
static SPINNERS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line of results, which the spinners do not overwrite.
pub(crate) fn print_result(line: &str) {
    SPINNERS.suspend(|| println!("{line}"));
}

/// A step that takes a while; the spinner is removed on drop.
#[derive(Debug)]
pub(crate) struct Step {
    bar: ProgressBar,
}

impl Step {
    /// Shows `text` until the step is dropped.
    pub(crate) fn start(text: impl Into<String>) -> Self {
        let text = text.into();
        if !stderr().is_terminal() {
            eprintln!("{text}");
        }
        Self::on_terminal(text)
    }

    /// Shows `text` on a terminal only.
    pub(crate) fn on_terminal(text: impl Into<String>) -> Self {
        let text = text.into();
        if !stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden() };
        }
        let bar = SPINNERS.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(text);
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
