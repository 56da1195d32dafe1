//! Eight guests at once on two physical CPUs: stock kernels with a busy script, and a hostile test
//! guest. The stock kernels have to finish as if they were alone.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, Outcome, Report, Test, guests};
use crate::debian::kernels::KERNELS;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Load};
use crate::virtual_machine::machine::{self, Contents};
use crate::virtual_machine::session::{END_TIME, Limits};

const GUESTS: u32 = 8;
const CPUS: u32 = 2;

/// The smallest memory in which a stock kernel, whose image ends at 62 MiB, its ramdisk and the
/// script fit.
const MEMORY: Size = Size::mib(64);

/// Kernel options for booting in that memory: no tracing files, which take 9 MiB, and a ramdisk
/// that is unpacked and freed before user space starts.
const FRUGAL: &str = "initcall_blacklist=tracer_init_tracefs initramfs_async=0";

const LIMITS: Limits =
    Limits { boot: Some(Duration::from_secs(420)), whole: Some(Duration::from_secs(900)), end: END_TIME };

/// The stock kernel that needs the least memory.
const KERNEL: &str = "debian12-cloud";

/// Runs the one test.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    if bench.host.is_paravane() {
        test.on_machine(report, "eight guests, one hostile", || boot(bench));
    }
}

fn boot(bench: &Bench) -> Result<Outcome> {
    let Some((hostile_memory, hostile)) = guests::hostile()? else {
        return Ok(Outcome::Skip("there is no test guest whose name begins with 'hostile'".into()));
    };
    let kernel = KERNELS.iter().find(|kernel| kernel.name == KERNEL).context("no such kernel")?;
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.programs()?;
    ramdisk.command("", &["/programs/exercise", "1"].map(OsString::from))?;
    let mut guests: Vec<GuestModule> = (1..GUESTS)
        .map(|number| GuestModule {
            name: format!("linux{number}"),
            memory: MEMORY,
            vcpus: 1,
            kernel: "vmlinuz".into(),
            ramdisk: Some("ramdisk".into()),
            command_line: format!("console={} {FRUGAL}", bench.host.console()),
        })
        .collect();
    guests.push(GuestModule {
        name: "hostile".into(),
        memory: hostile_memory,
        vcpus: 1,
        kernel: "hostile".into(),
        ramdisk: None,
        command_line: String::new(),
    });
    let files = vec![
        ("vmlinuz", Contents::File(kernel.file()?)),
        ("ramdisk", Contents::Bytes(ramdisk.finish_small()?)),
        ("hostile", Contents::File(hostile)),
    ];
    let memory = machine::host_memory(GUESTS.into(), MEMORY.max(hostile_memory));
    let mut setup = bench.setup(CPUS, memory, Load::Guests(guests), files, LIMITS);
    bench.expose(&mut setup);
    let mut booted = setup.boot(&machine::log_file("test-logs", "crowd")?)?;
    booted.session.may_be_killed("hostile");
    booted.session.follow(booted.limits, |_, _| {})?;
    let log = booted.session.log_path().display();
    for (name, guest) in booted.session.guests().iter().filter(|(name, _)| name.as_str() != "hostile") {
        if guest.status != Some(0) {
            return Ok(Outcome::Failure(format!("{name}: the script ended with {:?} (log: {log})", guest.status)));
        }
    }
    Ok(Outcome::Success)
}
