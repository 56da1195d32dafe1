//! Error messages: a guest that dies, a kernel without PV notes, one that cannot be an initial
//! domain, too little memory. Each ends in one clear line without delay.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

use super::{Bench, Outcome, Report, Test};
use crate::debian::kernels;
use crate::debian::kernels::KERNELS;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine::{self, Contents};
use crate::virtual_machine::session::{END_TIME, Limits};

const LIMITS: Limits =
    Limits { boot: Some(Duration::from_secs(120)), whole: Some(Duration::from_secs(150)), end: END_TIME };

/// A way to fail, and words that the message must contain.
struct Case {
    name: &'static str,
    memory: Size,
    /// The kernel; by default a stock kernel.
    kernel: Option<Contents>,
    command: &'static [&'static str],
    /// Whether it is the initial domain.
    initial: bool,
    words: &'static str,
}

/// Runs all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    let Host::Paravane(image) = &bench.host else { return };
    let Some(cloud) = report.prepared("Debian's cloud kernel", kernels::named("debian12-cloud")) else { return };
    let cases = [
        Case {
            name: "a guest that panics is reported",
            memory: Size::mib(256),
            kernel: None,
            command: &["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 1000"],
            initial: false,
            words: "died: crash",
        },
        Case {
            name: "a kernel without PV notes is refused",
            memory: Size::mib(256),
            kernel: Some(Contents::File(image.clone())),
            command: &["true"],
            initial: false,
            words: "was not started",
        },
        Case {
            name: "a file that is no kernel is refused",
            memory: Size::mib(256),
            kernel: Some(Contents::Bytes(b"#!/bin/sh\n".repeat(1000))),
            command: &["true"],
            initial: false,
            words: "was not started",
        },
        Case {
            name: "too little memory for the kernel is refused",
            memory: Size::mib(8),
            kernel: None,
            command: &["true"],
            initial: false,
            words: "was not started",
        },
        Case {
            name: "more memory than there is is refused",
            memory: Size::mib(1 << 20),
            kernel: None,
            command: &["true"],
            initial: false,
            words: "was not started",
        },
        Case {
            name: "a kernel that cannot be an initial domain's is told from one that can",
            memory: Size::mib(256),
            kernel: Some(Contents::File(cloud)),
            command: &["true"],
            initial: true,
            words: "(linux-image-amd64)",
        },
    ];
    for case in cases {
        test.on_machine(report, case.name, || boot(bench, &case));
    }
}

fn boot(bench: &Bench, case: &Case) -> Result<Outcome> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.command("", &case.command.iter().map(OsString::from).collect::<Vec<_>>())?;
    let kernel = match &case.kernel {
        Some(contents) => contents.clone(),
        None => Contents::File(KERNELS[0].file()?),
    };
    let guest = GuestModule {
        name: "linux".into(),
        memory: case.memory,
        vcpus: 1,
        kernel: "vmlinuz".into(),
        ramdisk: Some("ramdisk".into()),
        command_line: "console=hvc0".into(),
    };
    let load = if case.initial { Load::Initial(guest) } else { Load::Guests(vec![guest]) };
    let files = vec![("vmlinuz", kernel), ("ramdisk", Contents::Bytes(ramdisk.finish()?))];
    let setup = bench.setup(1, Size::mib(768), load, files, LIMITS);
    let mut booted = setup.boot(&machine::log_file("test-logs", &case.name.replace(' ', "-"))?)?;
    let log = booted.session.log_path().display().to_string();
    Ok(match booted.session.follow(booted.limits, |_, _| {}) {
        Err(error) if error.to_string().contains(case.words) => Outcome::Success,
        Err(error) => Outcome::Failure(format!("explained as: {error:#}")),
        Ok(()) => Outcome::Failure(format!("not noticed (log: {log})")),
    })
}
