//! Measurements in guests that a control domain has started, and of starting them: Debian with the
//! stock tools, on either hypervisor. The script is `controldomain/bench`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::configuration::{COUNTED, Configuration, Defences, MEMORY, TIME, command_line};
use super::figures::{BYTES, Figures};
use super::{kernel, program};
use crate::debian::control_disk::Disk;
use crate::debian::ramdisk::Ramdisk;
use crate::virtual_machine::accelerator::Accelerator;
use crate::virtual_machine::control_domain::{ControlDomain, Job};
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::Hardware;
use crate::virtual_machine::session::{SessionEvent, Stream};

const SCRIPT: &str = include_str!("../../../controldomain/bench");

const DEVICES: &[&str] = &["block-random", "block-sequential", "tcp-round-trip", "tcp-stream"];
const CREATE: &[&str] = &["guest-first-line"];
const CROWD: &[&str] = &["guest-20th", "memory-guest"];
const EVENTS: &[&str] = &["event-ping-pong"];
const LOGGED: &[&str] = &["logged-getppid", "logged-fork", "logged-first-write"];
/// Rows that only this module measures.
pub(super) const ROWS: &[&str] = &[
    EVENTS[0], LOGGED[0], LOGGED[1], LOGGED[2], DEVICES[0], DEVICES[1], DEVICES[2], DEVICES[3], CREATE[0], CROWD[0],
    CROWD[1],
];

/// Measures the selected rows, and those of the program: `of_program` or all.
pub(super) fn measure(
    configuration: Configuration,
    defences: Defences,
    of_program: &[String],
    is_wanted: impl Fn(&str) -> bool,
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("{configuration}: in the control domain");
    let wanted = |rows: &[&str]| rows.iter().any(|row| is_wanted(row));
    let mut parts = Vec::new();
    let kinds = [
        ("costs", kernel::HYPERCALLS),
        ("events", EVENTS),
        ("logged", LOGGED),
        ("devices", DEVICES),
        ("create", CREATE),
        ("crowd", CROWD),
    ];
    parts.extend(kinds.into_iter().filter(|(_, rows)| wanted(rows)).map(|(part, _)| part));
    if wanted(&["getppid"]) || !of_program.is_empty() {
        parts.push("program");
    }
    let disk = Disk::prepared(&[])?;
    let mut files = vec![
        ("vmlinuz".into(), fs::read(&disk.kernel)?),
        ("costs".into(), fs::read(kernel::file()?)?),
        ("benchmark".into(), program::program()?),
        ("program.ramdisk".into(), program::ramdisk("measure", of_program)?.finish()?),
    ];
    let logged: Vec<String> = LOGGED.iter().filter(|row| is_wanted(row)).map(|row| (*row).to_owned()).collect();
    files.push(("logged.ramdisk".into(), program::ramdisk("measure", &logged)?.finish()?));
    files.push(("devices.ramdisk".into(), devices(&disk, &is_wanted)?.finish()?));
    let host = configuration.host()?;
    let hardware = Hardware {
        cpus: Some(1),
        host_append: defences.options().into(),
        timeout: Some(TIME.as_secs()),
        arguments: COUNTED.map(String::from).to_vec(),
        ..Hardware::default()
    };
    let (lines, end) = run(configuration, &host, &disk, &hardware, &parts.join(" "), files)?;

    let mut rows: Vec<String> = Vec::new();
    let mut least: BTreeMap<String, u64> = BTreeMap::new();
    for line in &lines {
        let told = program::row(line).map(|(row, value)| (row.to_owned(), value));
        let told = told.or_else(|| {
            let (row, value) = kernel::cost(line)?;
            Some((row.to_owned(), value.parse().ok()?))
        });
        if let Some((row, value)) = told {
            if !rows.contains(&row) {
                rows.push(row.clone());
            }
            least.entry(row).and_modify(|least| *least = value.min(*least)).or_insert(value);
        } else if let Some((row, value)) = line.strip_prefix("bytes ").and_then(|rest| rest.split_once(' ')) {
            figures.add_of(row, configuration, value.trim_end().parse()?, BYTES);
        }
    }
    // The time includes the boot of the control domain and of its tools.
    for row in rows.iter().filter(|row| !["boot", "start"].contains(&row.as_str())) {
        figures.add(row, configuration, least[row]);
    }
    end?;
    ensure!(!rows.is_empty(), "nothing was measured");
    Ok(())
}

/// Describes a guest with disk and network that measures these.
fn devices(disk: &Disk, is_wanted: &impl Fn(&str) -> bool) -> Result<Ramdisk> {
    let rows: Vec<String> = DEVICES.iter().filter(|row| is_wanted(row)).map(|row| (*row).to_owned()).collect();
    let mut ramdisk = program::ramdisk("measure", &rows)?;
    disk.guest_modules(&mut ramdisk)?;
    Ok(ramdisk)
}

/// Runs the script. Returns its lines, including those of guests that it prints, and whether it
/// completed.
pub(super) fn run(
    configuration: Configuration,
    host: &Host,
    disk: &Disk,
    hardware: &Hardware,
    parts: &str,
    files: Vec<(String, Vec<u8>)>,
) -> Result<(Vec<String>, Result<()>)> {
    let variables = format!("KERNEL_LINE='{}'; MEMORY={}; PARTS='{parts}'", command_line(host), MEMORY.in_mib());
    let script = format!("{variables}\n{SCRIPT}");
    let control_domain = ControlDomain {
        hardware,
        vcpus: None,
        memory: None,
        append: "mitigations=off nokaslr",
        job: Job::Command(&["sh".into(), "-c".into(), script.into()]),
        files,
        disks: Vec::new(),
    };
    let log = machine::log_file("bench-logs", &format!("{configuration}-control"))?;
    let mut booted = control_domain.boot(host, Accelerator::Tcg, disk, &log)?;
    let (mut text, mut failed) = (String::new(), String::new());
    let life = booted.session.follow(booted.limits, |_, event| match event {
        SessionEvent::Output(_, Stream::Err, bytes) => failed.push_str(&String::from_utf8_lossy(&bytes)),
        SessionEvent::Output(_, Stream::Out, bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
        _ => {}
    });
    let status = booted.session.guests().values().find_map(|guest| guest.status);
    // Debian takes long to shut down, but has printed all results before.
    let end = match (status, life) {
        (Some(0), _) => Ok(()),
        (None, Err(error)) => Err(error),
        _ => Err(anyhow!("the script in the control domain ended with {status:?}: {failed}{}", tail(&text))),
    };
    let mut guests = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.trim_end().strip_prefix("@run out ").and_then(|frame| STANDARD.decode(frame).ok()) {
            Some(bytes) => guests.push_str(&String::from_utf8_lossy(&bytes)),
            None => lines.push(line.to_owned()),
        }
    }
    lines.extend(guests.lines().map(str::to_owned));
    Ok((lines, end))
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
