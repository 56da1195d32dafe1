//! `cargo xtask boot-times`: time from the start of QEMU to the first line of the guest kernel and
//! to user space, on Paravane and on Debian's Xen with the same kernel, ramdisk and QEMU options.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::debian::ramdisk::Ramdisk;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::machine::{Contents, Options, log_file};

/// Options of `boot-times`.
#[derive(Args, Debug)]
pub(crate) struct BootTimes {
    #[command(flatten)]
    machine: Options,
    /// Boots of each; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

impl BootTimes {
    /// Boots both in turn and prints the medians.
    pub(crate) fn execute(&self) -> Result<ExitCode> {
        let (accelerator, reason) = self.machine.hardware.choose_accelerator()?;
        eprintln!("using {accelerator}: {reason}");
        let mut ramdisk = Ramdisk::bootable()?;
        ramdisk.command("", &[OsString::from("true")])?;
        let ramdisk = Contents::Bytes(ramdisk.finish()?);
        // The kernel of an unprivileged guest shows its first lines early only with this option.
        let mut machine = self.machine.clone();
        machine.append = format!("earlyprintk=xen {}", machine.append);
        let hosts = [("Paravane", Host::named(None)?), ("Xen 4.17", Host::named(Some("xen"))?)];
        let mut times = [(); 2].map(|()| (Vec::new(), Vec::new()));
        for round in 1..=self.rounds {
            // In turn, so that other load on the host affects both alike.
            for ((name, host), (first, ready)) in hosts.iter().zip(&mut times) {
                let log = log_file("boot-logs", &name.replace(' ', "-").to_lowercase())?;
                let mut booted = machine.boot(host, accelerator, Some(ramdisk.clone()), false, &log)?;
                booted.session.follow(booted.limits, |_, _| {}).with_context(|| format!("on {name}"))?;
                let guest = booted.session.guests().values().next().context("no guest")?;
                let line = guest.first_line.with_context(|| format!("the kernel printed nothing on {name}"))?;
                let user = guest.ready.with_context(|| format!("no user space on {name}"))?;
                eprintln!("round {round}, {name}: {:.1} s, {:.1} s", line.as_secs_f64(), user.as_secs_f64());
                first.push(line);
                ready.push(user);
            }
        }
        let mut table = Builder::default();
        table.push_record(["", "kernel's first line", "user space"]);
        for ((name, _), (first, ready)) in hosts.iter().zip(&mut times) {
            table.push_record([(*name).into(), middle(first), middle(ready)]);
        }
        println!("{}", table.build().with(Style::markdown()));
        Ok(ExitCode::SUCCESS)
    }
}

fn middle(times: &mut [Duration]) -> String {
    times.sort_unstable();
    times.get(times.len() / 2).map_or_else(String::new, |time| format!("{:.1} s", time.as_secs_f64()))
}
