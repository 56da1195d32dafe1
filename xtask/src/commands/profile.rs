//! `cargo xtask profile ROW`: where Paravane spends its instructions while one row of the benchmark
//! runs once. The result is exact, not sampled: QEMU single-steps and logs the address of each of
//! Paravane's instructions, and the log is read as it is written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tabled::builder::Builder;

use crate::artefacts::{hypervisor, symbols};
use crate::commands::bench::{Configuration, Defences, ramdisk};
use crate::foundation::table::markdown;
use crate::virtual_machine::emulator;
use crate::virtual_machine::session::{SessionEvent, Stream};

/// Load address of the image, and where the first CPU's window has the entry code (docs/design.md).
const IMAGE: u64 = 0xffff_8080_0000_0000;
const IMAGE_SIZE: u64 = 64 << 20;
const ENTRY_CODE: u64 = 0xffff_8180_0000_0000;
const ENTRY_CODE_SIZE: u64 = 0x8000;

/// Options of `profile`.
#[derive(Args, Debug)]
pub(crate) struct Profile {
    /// The row of the benchmark
    #[arg(value_name = "ROW")]
    row: String,
    /// Where the kernel runs
    #[arg(long, value_enum, default_value = "paravane-guest")]
    configuration: Configuration,
    /// Show at most this many symbols
    #[arg(long, value_name = "N", default_value_t = 30)]
    top: usize,
    /// Write the address of each instruction, relative to the image, and its number of executions
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
}

type Counts = HashMap<u64, u64>;

impl Profile {
    /// Profiles and prints the symbols.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        emulator::need()?;
        ensure!(self.configuration.is_paravane(), "only Paravane is profiled");
        let folder = tempfile::tempdir()?;
        let (trace, socket) = (folder.path().join("trace"), folder.path().join("monitor"));
        mknodat(CWD, &trace, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("cannot make a pipe")?;
        // QEMU may close and reopen the log; the pipe ends when this is dropped.
        let open = File::options().read(true).write(true).open(&trace)?;
        let reader = {
            let trace = trace.clone();
            thread::spawn(move || read(&trace))
        };
        let arguments = [
            "-monitor".to_owned(),
            format!("unix:{},server=on,wait=off", socket.display()),
            "-dfilter".into(),
            format!("{IMAGE:#x}+{IMAGE_SIZE:#x},{ENTRY_CODE:#x}+{ENTRY_CODE_SIZE:#x}"),
            "-D".into(),
            trace.display().to_string(),
        ];
        let row = [self.row.clone()];
        let mut booted = self.configuration.boot(Defences::None, ramdisk("once", &row)?, arguments.to_vec())?;
        let mut input = booted.session.take_input().context("no serial input")?;
        let mut watch = Watch { socket, monitor: None };
        let (mut text, mut times, mut trouble) = (String::new(), None, None);
        booted.session.follow(booted.limits, |_, event| {
            let SessionEvent::Output(_, Stream::Out, bytes) = event else { return };
            text.push_str(&String::from_utf8_lossy(&bytes));
            while let Some((line, rest)) = text.split_once('\n') {
                let mut words = line.split(' ');
                let step = match (words.next(), words.next()) {
                    (Some("begin" | "end"), Some("none")) => Ok(()),
                    (Some("begin"), _) => {
                        times = words.next().and_then(|word| word.parse::<u64>().ok());
                        watch.begin()
                    }
                    (Some("end"), _) => watch.end(),
                    _ => Ok(()),
                };
                trouble = trouble.take().or(step.err());
                let _ = input.write_all(b"\n");
                text = rest.to_owned();
            }
        })?;
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        let times = times.with_context(|| format!("there is no row {}", self.row))?;
        drop((booted, open));
        let Ok(counts) = reader.join() else { bail!("the log could not be read") };
        let counts = counts?;
        self.show(&counts, times)?;
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, counts: &Counts, times: u64) -> Result<()> {
        let image = hypervisor::build()?;
        let functions = symbols::of_image(&image)?;
        let first_entry = functions.address("entry_syscall").context("the image has no entry code")?;
        let mut by_symbol: HashMap<&str, u64> = HashMap::new();
        for (address, count) in counts {
            let in_window = (ENTRY_CODE..ENTRY_CODE + ENTRY_CODE_SIZE).contains(address);
            let in_image = if in_window { address - ENTRY_CODE + first_entry } else { *address };
            *by_symbol.entry(functions.name(in_image).unwrap_or("?")).or_default() += count;
        }
        if let Some(file) = &self.addresses {
            let mut lines: Vec<String> =
                counts.iter().map(|(address, count)| format!("{address:#x} {count}\n")).collect();
            lines.sort();
            fs::write(file, lines.concat()).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let total: u64 = by_symbol.values().sum();
        ensure!(total != 0, "no instruction of Paravane's was seen");
        let mut sorted: Vec<_> = by_symbol.into_iter().collect();
        sorted.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
        let mut table = Builder::default();
        table.push_record([format!("{}, in Paravane", self.row), "each".into(), "share".into()]);
        let per_cent = |count: u64| format!("{:.1} %", count as f64 / total as f64 * 100.0);
        for (name, count) in sorted.into_iter().take(self.top) {
            table.push_record([name.to_owned(), format!("{:.1}", count as f64 / times as f64), per_cent(count)]);
        }
        table.push_record(["all".into(), format!("{:.1}", total as f64 / times as f64), per_cent(total)]);
        println!("{}", markdown(table));
        Ok(())
    }
}

/// The log of a machine, switched on and off through its monitor.
struct Watch {
    socket: PathBuf,
    monitor: Option<UnixStream>,
}

impl Watch {
    fn begin(&mut self) -> Result<()> {
        self.monitor = Some(UnixStream::connect(&self.socket).context("cannot reach QEMU's monitor")?);
        self.command("")?;
        // Renamed in QEMU 8.1.
        let answer = self.command("singlestep on\n")?;
        if answer.contains("unknown command") {
            self.command("one-insn-per-tb on\n")?;
        }
        self.command("log exec,nochain\n").map(drop)
    }

    fn end(&mut self) -> Result<()> {
        self.command("log none\n").map(drop)
    }

    /// Sends a command and returns the output up to the next prompt.
    fn command(&mut self, command: &str) -> Result<String> {
        let monitor = self.monitor.as_mut().context("the monitor is not open")?;
        monitor.write_all(command.as_bytes())?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"(qemu) ") {
            monitor.read_exact(&mut byte).context("the monitor is gone")?;
            answer.extend(byte);
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Counts the addresses in a log of executed instructions until its writer closes it.
fn read(trace: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut reader = BufReader::with_capacity(1 << 20, File::open(trace)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? != 0 {
        if let Some(address) = address(&line) {
            *counts.entry(address).or_default() += 1;
        }
        line.clear();
    }
    Ok(counts)
}

/// The address in a line of the form `Trace 0: 0x7f… [cs base/address/flags/…]`.
fn address(line: &[u8]) -> Option<u64> {
    let line = str::from_utf8(line).ok()?;
    let (_, rest) = line.strip_prefix("Trace ")?.split_once('/')?;
    u64::from_str_radix(rest.split('/').next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_are_found_in_the_log() {
        let line = b"Trace 0: 0x7f7f80000100 [0000000000000000/ffff808000123456/0x00000144/ff000000] \n";
        assert_eq!(address(line), Some(0xffff_8080_0012_3456));
        assert_eq!(address(b"Stopped execution of TB chain before 0x1 [0/2]"), None);
        assert_eq!(address(b""), None);
    }
}
