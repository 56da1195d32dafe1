//! QEMU's monitor protocol, for what only the emulator knows: the picture on the screen, and the
//! contents of memory.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::virtual_machine::picture::Picture;

/// QEMU arguments that give a machine a monitor.
pub(crate) const ARGUMENTS: [&str; 2] = ["-qmp", "unix:monitor,server=on,wait=off"];

/// Time limit of a command.
const TIME: Duration = Duration::from_secs(20);

/// Number of moments at which [`Monitor::mappings_of_ring_3`] looks.
const RING_3_ATTEMPTS: u32 = 50;

/// A connection to the monitor of the machine with files in a folder.
#[derive(Debug)]
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    folder: PathBuf,
}

impl Monitor {
    /// Connects; QEMU creates its socket shortly after its start.
    pub(crate) fn connect(folder: &Path) -> Result<Self> {
        let deadline = Instant::now() + TIME;
        let stream = loop {
            match UnixStream::connect(folder.join("monitor")) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => return Err(error).context("QEMU has no monitor"),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        };
        stream.set_read_timeout(Some(TIME))?;
        let mut monitor = Self { stream: BufReader::new(stream), folder: folder.to_owned() };
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{}", json!({ "execute": command, "arguments": arguments }))?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).with_context(|| format!("no answer to {command}"))? == 0 {
                bail!("QEMU has ended before it answered {command}");
            }
            let mut answer: Value = serde_json::from_str(&line).context("QEMU's answer is no JSON")?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {error}");
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    /// Runs a command of the human monitor.
    pub(crate) fn command(&mut self, line: &str) -> Result<()> {
        match self.text(line)?.trim() {
            "" => Ok(()),
            answer => bail!("{line}: {answer}"),
        }
    }

    /// Stops the machine at a moment at which its only CPU runs in ring 3, and lists the addresses
    /// that are mapped then.
    pub(crate) fn mappings_of_ring_3(&mut self) -> Result<Vec<u64>> {
        for _ in 0..RING_3_ATTEMPTS {
            self.execute("stop", json!({}))?;
            let in_ring_3 = self.text("info registers")?.contains("CPL=3");
            let list = if in_ring_3 { Some(self.text("info tlb")?) } else { None };
            self.execute("cont", json!({}))?;
            if let Some(list) = list {
                let addresses = list.lines().filter_map(|line| line.split_once(':'));
                return addresses.map(|(address, _)| Ok(u64::from_str_radix(address.trim(), 16)?)).collect();
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the CPU was in ring 0 each of {RING_3_ATTEMPTS} times")
    }

    /// The answer to a command of the human monitor.
    fn text(&mut self, line: &str) -> Result<String> {
        let answer = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        Ok(answer.as_str().context("QEMU's answer is no text")?.to_owned())
    }

    /// Reads the picture on the screen.
    pub(crate) fn picture(&mut self) -> Result<Picture> {
        self.execute("screendump", json!({ "filename": "screen.ppm" }))?;
        Picture::parse(&fs::read(self.folder.join("screen.ppm"))?).context("QEMU's picture cannot be read")
    }

    /// Stores the picture on the screen as a PNG.
    pub(crate) fn keep_picture(&mut self, path: &Path) -> Result<()> {
        self.execute("screendump", json!({ "filename": "screen.png", "format": "png" }))?;
        fs::copy(self.folder.join("screen.png"), path)?;
        Ok(())
    }

    /// Reads physical memory.
    pub(crate) fn memory(&mut self, address: u64, length: u64) -> Result<Vec<u8>> {
        self.execute("pmemsave", json!({ "val": address, "size": length, "filename": "memory" }))?;
        Ok(fs::read(self.folder.join("memory"))?)
    }

    /// Sends an NMI to all CPUs after each pause until the result is dropped. It must be dropped
    /// before the machine ends: QEMU 7.2 waits forever at its end for a command that came then.
    #[must_use]
    pub(crate) fn keep_sending_nmis(mut self, pause: Duration) -> Sender<()> {
        let (handle, dropped) = mpsc::channel();
        thread::spawn(move || {
            while dropped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) && self.command("nmi").is_ok() {}
        });
        handle
    }
}
