//! A dialogue over the serial line with a machine that boots from its own disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::virtual_machine::qemu::{Event, Machine, Running};

/// The output so far, which is also stored in a file.
pub(crate) struct Dialogue {
    running: Running,
    input: Box<dyn Write>,
    log: File,
    log_path: PathBuf,
    /// Output since the last expected text.
    heard: String,
}

impl Dialogue {
    /// Starts `machine`.
    pub(crate) fn start(machine: &Machine, log_path: &Path) -> Result<Self> {
        let log = File::create(log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut running = machine.start()?;
        let input = Box::new(running.take_input().context("the machine has no serial input")?);
        Ok(Self { running, input, log, log_path: log_path.to_owned(), heard: String::new() })
    }

    /// Waits until the output contains `text`.
    pub(crate) fn expect(&mut self, text: &str, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(start) = self.heard.find(text) {
                self.heard.drain(..start + text.len());
                return Ok(());
            }
            match self.running.next(deadline)? {
                Event::Output(bytes) => {
                    self.log.write_all(&bytes)?;
                    self.heard.push_str(&String::from_utf8_lossy(&bytes));
                }
                Event::Timeout => bail!("no '{text}' within {} s {}", time.as_secs(), self.last_words()),
                Event::Ended => bail!("the machine went off before '{text}' {}", self.last_words()),
            }
        }
    }

    /// Sends a line.
    pub(crate) fn send_line(&mut self, line: &str) -> Result<()> {
        self.heard.clear();
        self.input.write_all(format!("{line}\r").as_bytes())?;
        Ok(self.input.flush()?)
    }

    /// Waits until the machine is off or restarts.
    pub(crate) fn end(mut self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        loop {
            match self.running.next(deadline)? {
                Event::Output(bytes) => self.log.write_all(&bytes)?,
                Event::Timeout => bail!("still on after {} s {}", time.as_secs(), self.last_words()),
                Event::Ended => return Ok(()),
            }
        }
    }

    fn last_words(&self) -> String {
        let last = self.heard.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("(last: {}; log: {})", last.trim(), self.log_path.display())
    }
}
