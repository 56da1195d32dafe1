//! Stock kernels on two cores with two threads each: with one thread per core, and with core
//! scheduling.

use std::ffi::OsString;

use anyhow::Result;

use super::kernels::{LIMITS, MEMORY};
use super::{Bench, Outcome, Report, Test};
use crate::debian::kernels::KERNELS;
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Load};
use crate::virtual_machine::machine::{self, Contents, Setup};
use crate::virtual_machine::session::SessionEvent;

/// The threads of the machine, and how QEMU arranges them.
const THREADS: u32 = 4;
const ARRANGEMENT: [&str; 2] = ["-smp", "sockets=1,cores=2,threads=2"];

/// The initial domain sees the first threads online and the others offline.
const PARKED: &str = r#"
cd /sys/devices/system/xen_cpu
[ "$(cat xen_cpu1/online xen_cpu2/online xen_cpu3/online | tr -d '\n')" = 100 ]
/programs/exercise 2
"#;

/// Runs both.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    if bench.host.is_paravane() {
        test.on_machine(report, "one thread per core", || one_thread_per_core(bench));
        test.on_machine(report, "core scheduling", || core_scheduling(bench));
    }
}

fn guest(bench: &Bench, name: &str, memory: Size) -> GuestModule {
    GuestModule {
        name: name.into(),
        memory,
        vcpus: 2,
        kernel: "vmlinuz".into(),
        ramdisk: Some("ramdisk".into()),
        command_line: format!("console={}", bench.host.console()),
    }
}

fn setup<'a>(bench: &'a Bench, load: Load, words: &[&str], option: &str) -> Result<Setup<'a>> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.programs()?;
    ramdisk.command("", &words.iter().map(OsString::from).collect::<Vec<_>>())?;
    let files = vec![("vmlinuz", Contents::File(KERNELS[0].file()?)), ("ramdisk", Contents::Bytes(ramdisk.finish()?))];
    let memory = machine::host_memory(2, MEMORY);
    let mut setup = bench.setup(THREADS, memory, load, files, LIMITS);
    setup.options = format!("{} {option}", setup.options);
    bench.expose(&mut setup);
    setup.arguments = ARRANGEMENT.map(String::from).into();
    Ok(setup)
}

/// Follows a machine until it ends. All scripts must succeed, and the log must contain what is
/// `wanted`.
fn follow(setup: Setup<'_>, name: &str, wanted: &[&str]) -> Result<Outcome> {
    let mut booted = setup.boot(&machine::log_file("test-logs", name)?)?;
    let mut lines = Vec::new();
    booted.session.follow(booted.limits, |_, event| {
        if let SessionEvent::Log(line) = event {
            lines.push(line.to_owned());
        }
    })?;
    let log = booted.session.log_path().display();
    for (name, guest) in booted.session.guests() {
        if guest.status != Some(0) {
            return Ok(Outcome::Failure(format!("{name}: the script ended with {:?} (log: {log})", guest.status)));
        }
    }
    match wanted.iter().find(|wanted| !lines.iter().any(|line| line.contains(**wanted))) {
        Some(missing) => Ok(Outcome::Failure(format!("nothing said \"{missing}\" (log: {log})"))),
        None => Ok(Outcome::Success),
    }
}

fn one_thread_per_core(bench: &Bench) -> Result<Outcome> {
    let load = Load::Initial(guest(bench, "Domain-0", MEMORY));
    let setup = setup(bench, load, &["sh", "-e", "-c", PARKED], "smt=0")?;
    follow(setup, "one-thread-per-core", &["2 of 4 CPUs are running", "2 threads of these cores are parked"])
}

/// Two guests with two busy vCPUs each, which cannot share a core.
fn core_scheduling(bench: &Bench) -> Result<Outcome> {
    let guests = ["linux1", "linux2"].map(|name| guest(bench, name, MEMORY));
    let setup = setup(bench, Load::Guests(guests.into()), &["/programs/exercise", "2"], "sched-gran=core")?;
    follow(setup, "core-scheduling", &["4 of 4 CPUs are running"])
}
