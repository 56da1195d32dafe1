//! Measurements of the benchmark program in a kernel that needs no control domain.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, ensure};

use super::configuration::{Configuration, Defences};
use super::counts;
use super::figures::Figures;
use crate::artefacts::programs;
use crate::debian::packages::Release;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::workspace;
use crate::virtual_machine::session::{SessionEvent, Stream};

/// Console input that switches to Paravane's debug keys, prints the counters, and switches back to
/// the guest.
const COUNTERS_KEY: &[u8] = b"\x01\x01\x01p\x01\x01\x01";
/// Where Debian's programs look for their libraries.
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// Measures the selected rows.
pub(super) fn measure(
    configuration: Configuration,
    defences: Defences,
    wanted: &[String],
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("{configuration}: measuring");
    for line in run(configuration, defences, "measure", wanted)? {
        if let Some((row, ticks)) = row(&line) {
            figures.add(row, configuration, ticks);
        }
    }
    Ok(())
}

/// Adds Paravane's counters for each of the selected rows.
pub(super) fn count(
    configuration: Configuration,
    defences: Defences,
    wanted: &[String],
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("{configuration}: counting");
    counts::add(configuration, &run(configuration, defences, "steps", wanted)?, figures)
}

/// Parses a line of the program into row and figure.
pub(super) fn row(line: &str) -> Option<(&str, u64)> {
    let (row, ticks) = line.strip_prefix("row ")?.split_once(' ')?;
    Some((row, ticks.trim_end().parse().ok()?))
}

/// Runs the program and returns its lines, interleaved with Paravane's counters: at each mark of
/// the program the counters are requested, then the program is told to continue.
fn run(configuration: Configuration, defences: Defences, task: &str, wanted: &[String]) -> Result<Vec<String>> {
    let mut booted = configuration.boot(defences, ramdisk(task, wanted)?, Vec::new())?;
    let mut lines = Vec::new();
    let mut text = String::new();
    let mut failed = String::new();
    let mut input = booted.session.take_input();
    booted.session.follow(booted.limits, |_, event| match event {
        SessionEvent::Log(line) => lines.extend(line.strip_prefix("(host) ").map(String::from)),
        SessionEvent::Output(_, Stream::Err, bytes) => failed.push_str(&String::from_utf8_lossy(&bytes)),
        SessionEvent::Output(_, Stream::Out, bytes) => {
            text.push_str(&String::from_utf8_lossy(&bytes));
            while let Some((line, rest)) = text.split_once('\n') {
                if line.starts_with("begin ") || line.starts_with("end ") {
                    // A machine that has ended is noticed when its output ends.
                    let _ = input.as_mut().map(|input| input.write_all(&[COUNTERS_KEY, b"\n"].concat()));
                }
                lines.push(line.to_owned());
                text = rest.to_owned();
            }
        }
        _ => {}
    })?;
    let status = booted.session.guests().values().find_map(|guest| guest.status);
    ensure!(status == Some(0), "the program ended with {status:?}: {failed}");
    ensure!(
        lines.iter().any(|line| line.starts_with("row ") || line.starts_with("end ")),
        "nothing was measured: {failed}"
    );
    Ok(lines)
}

/// Builds a ramdisk that runs the program's `task` for the selected rows.
pub(crate) fn ramdisk(task: &str, wanted: &[String]) -> Result<Ramdisk> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.file("programs/benchmark", 0o755, &program()?)?;
    compiler(&mut ramdisk)?;
    let words = ["/programs/benchmark", task].into_iter().chain(wanted.iter().map(String::as_str));
    ramdisk.command("", &words.map(Into::into).collect::<Vec<_>>())?;
    Ok(ramdisk)
}

/// Builds the program.
pub(super) fn program() -> Result<Vec<u8>> {
    Ok(fs::read(programs::built("benchmark", "benchmark")?)?)
}

/// Adds Debian's smallest C compiler, its libraries, and the source to compile.
fn compiler(ramdisk: &mut Ramdisk) -> Result<()> {
    let release = Release::open("bookworm")?;
    let (tcc, libc) = (release.unpacked("tcc")?, release.unpacked("libc6")?);
    for folder in ["lib", LIBRARIES, "lib64", "build"] {
        ramdisk.folder(folder)?;
    }
    ramdisk.file("programs/tcc", 0o755, &fs::read(tcc.join("usr/bin/tcc"))?)?;
    let libraries = libc.join(LIBRARIES);
    for name in ["libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0"] {
        ramdisk.file(&format!("{LIBRARIES}/{name}"), 0o755, &fs::read(libraries.join(name))?)?;
    }
    ramdisk.file("lib64/ld-linux-x86-64.so.2", 0o755, &fs::read(libraries.join("ld-linux-x86-64.so.2"))?)?;
    let sources = workspace::root().join("guests/benchmark/build");
    for entry in fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))? {
        let path = entry?.path();
        let name = path.file_name().context("a source without a name")?.to_string_lossy();
        ramdisk.file(&format!("build/{name}"), 0o644, &fs::read(&path)?)?;
    }
    Ok(())
}
