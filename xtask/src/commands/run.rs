//! `cargo xtask run`: a shell in the control domain, or one command there whose output and status
//! become those of xtask; with `--direct` the same in a guest without a control domain.

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::debian::control_disk::Disk;
use crate::debian::ramdisk;
use crate::foundation::progress::Step;
use crate::foundation::terminal;
use crate::virtual_machine::control_domain::{ControlDomain, Job};
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::{Booted, Contents, Options};
use crate::virtual_machine::qemu;
use crate::virtual_machine::session::{SessionEvent, Stream};

/// Options of `run`.
#[derive(Args, Debug)]
pub(crate) struct Run {
    #[command(flatten)]
    machine: Options,
    /// Start guests directly, without a control domain
    #[arg(long)]
    direct: bool,
    /// Boot another Multiboot hypervisor with the same disk: a file, 'xen' (Debian's), or 'none'
    #[arg(long, value_name = "FILE")]
    hypervisor: Option<String>,
    /// Another disk of the control domain, a raw image: /dev/vda, /dev/vdb and so on; writes to it
    /// are discarded
    #[arg(long, value_name = "FILE", conflicts_with = "direct")]
    disk: Vec<PathBuf>,
    /// Show the boot log on standard error
    #[arg(short, long)]
    verbose: bool,
    /// The command to run in the control domain, or in the guest; without it an interactive shell
    /// is started
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    /// Boots and returns the status of the command or shell.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let host = Host::named(self.hypervisor.as_deref())?;
        let (accelerator, reason) = self.machine.hardware.choose_accelerator()?;
        eprintln!("using {accelerator}: {reason}");
        let interactive = self.command.is_empty();
        let log = machine::log_file("run-logs", "last")?;
        let booted = if !self.direct {
            self.machine.refuse_direct()?;
            let disk = Disk::prepared(&[])?;
            self.control_domain(&disk)?.boot(&host, accelerator, &disk, &log)?
        } else {
            let raw = interactive && self.machine.guests == 1;
            self.machine.boot(&host, accelerator, Some(self.ramdisk()?), raw, &log)?
        };
        let result = if interactive { self.shell(booted) } else { self.output(booted) };
        terminal::restore();
        result
    }

    fn control_domain(&self, disk: &Disk) -> Result<ControlDomain<'_>> {
        Ok(ControlDomain {
            hardware: &self.machine.hardware,
            vcpus: self.machine.vcpus,
            memory: self.machine.memory,
            append: &self.machine.append,
            job: if self.command.is_empty() { Job::Shell } else { Job::Command(&self.command) },
            files: disk.guest_files()?,
            disks: self.disk.clone(),
        })
    }

    fn ramdisk(&self) -> Result<Contents> {
        if let Some(file) = &self.machine.ramdisk {
            ensure!(self.command.is_empty(), "a ramdisk of your own cannot be told which command to run");
            return Ok(Contents::File(file.clone()));
        }
        let mut ramdisk = ramdisk::Ramdisk::bootable()?;
        if !self.command.is_empty() {
            ramdisk.command("", &self.command)?;
        }
        Ok(Contents::Bytes(ramdisk.finish()?))
    }

    /// Runs the command and passes its output on. With several guests each line is prefixed with
    /// the guest's name.
    fn output(&self, mut booted: Booted) -> Result<ExitCode> {
        let step = self.step();
        let several = self.machine.guests > 1;
        let mut held: Vec<(String, Stream, Vec<u8>)> = Vec::new();
        booted.session.follow(booted.limits, |_, event| match event {
            SessionEvent::Log(text) if self.verbose => eprintln!("{text}"),
            SessionEvent::Output(name, stream, bytes) if several => {
                let known = held.iter().position(|(owner, kind, _)| owner == name && *kind == stream);
                let index = known.unwrap_or_else(|| {
                    held.push((name.into(), stream, Vec::new()));
                    held.len() - 1
                });
                let line = &mut held[index].2;
                line.extend(bytes);
                while let Some(end) = line.iter().position(|&byte| byte == b'\n') {
                    let rest = line.split_off(end + 1);
                    write(stream, &[format!("[{name}] ").as_bytes(), line].concat());
                    *line = rest;
                }
            }
            SessionEvent::Output(_, stream, bytes) => write(stream, &bytes),
            _ => {}
        })?;
        drop(step);
        for (name, stream, line) in held.iter().filter(|(_, _, line)| !line.is_empty()) {
            write(*stream, format!("[{name}] {}\n", String::from_utf8_lossy(line)).as_bytes());
        }
        status(&booted, true)
    }

    /// Connects the terminal to the guest's shell.
    fn shell(&self, mut booted: Booted) -> Result<ExitCode> {
        let own_ramdisk = self.machine.ramdisk.is_some();
        let several = self.machine.guests > 1;
        let mut step = (!own_ramdisk && !several).then(|| self.step()).flatten();
        let mut raw = None;
        if own_ramdisk || several {
            // User space does not announce itself here, so show everything from the start.
            if own_ramdisk {
                booted.limits.boot = None;
            }
            raw = connect(&mut booted.session, !several);
        }
        let verbose = self.verbose || several;
        booted.session.follow(booted.limits, |session, event| match event {
            SessionEvent::Log(text) if verbose => eprint!("{text}\r\n"),
            SessionEvent::Ready => {
                drop(step.take());
                if !several && raw.is_none() {
                    eprintln!("guest is up (log: {}); Ctrl-] ends the machine", session.log_path().display());
                    raw = connect(session, true);
                }
            }
            SessionEvent::Console(bytes) => write(Stream::Out, &bytes),
            _ => {}
        })?;
        drop(raw);
        status(&booted, !own_ramdisk)
    }

    fn step(&self) -> Option<Step> {
        (!self.verbose).then(|| Step::start("booting"))
    }
}

/// Connects the terminal to the machine's serial line.
fn connect(session: &mut crate::virtual_machine::session::Session, pass_through: bool) -> Option<terminal::Raw> {
    if pass_through {
        session.pass_through();
    }
    let raw = terminal::Raw::take();
    if let Some(input) = session.take_input() {
        terminal::forward_input(input, || {
            terminal::restore();
            eprintln!("\nended at the keyboard");
            qemu::end_all();
            std::process::exit(130);
        });
    }
    raw
}

/// The first non-zero status of a guest, limited to the range of an exit code. A guest with a
/// ramdisk given by the user need not report one.
fn status(booted: &Booted, reported: bool) -> Result<ExitCode> {
    let mut first = 0;
    for (name, guest) in booted.session.guests() {
        let log = booted.session.log_path().display();
        ensure!(!reported || guest.status.is_some(), "{name} powered off before it reported a status (log: {log})");
        first = if first == 0 { guest.status.unwrap_or(0) } else { first };
    }
    Ok(ExitCode::from(u8::try_from(first & 0xff).unwrap_or(u8::MAX)))
}

fn write(stream: Stream, bytes: &[u8]) {
    // A closed reader, as in `| head`, does not stop the guest.
    let _ = match stream {
        Stream::Out => stdout().write_all(bytes).and_then(|()| stdout().flush()),
        Stream::Err => stderr().write_all(bytes),
    };
}
