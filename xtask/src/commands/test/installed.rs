//! The disk with the package installed boots by itself, under BIOS and under UEFI, to Debian as
//! control domain with a guest. With the package removed it boots Debian without Paravane.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Bench, Outcome, Report, Test};
use crate::debian::disk_image;
use crate::foundation::size::Size;
use crate::foundation::{command, tools, workspace};
use crate::virtual_machine::dialogue::Dialogue;
use crate::virtual_machine::machine::log_file;
use crate::virtual_machine::qemu::{Boot, Drive, Machine};

/// OVMF from Debian's package ovmf.
const OVMF: &str = "/usr/share/ovmf/OVMF.fd";

/// Time limits from power-on to login, and for a command.
const BOOT_TIME: Duration = Duration::from_secs(900);
const COMMAND_TIME: Duration = Duration::from_secs(300);

/// Builds the disk and boots it both ways.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    let ways = [("installed, BIOS", false), ("installed, UEFI", true)];
    if !bench.host.is_paravane() || !ways.iter().any(|(name, _)| test.chooses(name)) {
        return;
    }
    let Some(disk) = report.prepared("installed", disk_image::build()) else { return };
    for (name, uefi) in ways {
        test.on_machine(report, name, || life(bench, &disk, uefi));
    }
}

fn life(bench: &Bench, disk: &Path, uefi: bool) -> Result<Outcome> {
    if uefi {
        tools::need_file(OVMF, "ovmf")?;
    }
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::target())?;
    command::quiet(Command::new("cp").arg("--sparse=always").arg(disk).arg(folder.path().join("disk")))?;
    let machine = Machine {
        accelerator: bench.accelerator,
        cpu: bench.cpu.clone().unwrap_or_else(|| bench.accelerator.cpu().into()),
        cpus: 2,
        memory: Size::mib(2048),
        boot: Boot::Disk { firmware: uefi.then(|| OVMF.into()) },
        folder: folder.path().to_owned(),
        disks: vec![Drive { file: "disk".into(), kept: true }],
        arguments: Vec::new(),
    };
    let name = if uefi { "uefi" } else { "bios" };
    let mut with = Dialogue::start(&machine, &log_file("test-logs", &format!("installed-{name}"))?)?;
    login(&mut with)?;
    ask(&mut with, "cat /sys/hypervisor/type", "xen")?;
    ask(&mut with, "xl list | grep -c '^Domain-0 '", "1")?;
    // The guest starts with the machine, and is up soon after the login prompt.
    ask(
        &mut with,
        "for try in $(seq 60); do xl domid demo > /dev/null 2>&1 && break; sleep 2; done; xl list | grep -c '^demo '",
        "1",
    )?;
    ask(&mut with, "xl destroy demo; xl list | grep -c '^demo '", "0")?;
    ask(&mut with, "xl create -q /etc/xen/demo.cfg; xl list | grep -c '^demo '", "1")?;
    with.send_line("dpkg --purge paravane && systemctl reboot")?;
    // A machine that restarts ends instead.
    with.end(BOOT_TIME)?;

    let mut without = Dialogue::start(&machine, &log_file("test-logs", &format!("removed-{name}"))?)?;
    login(&mut without)?;
    ask(&mut without, "ls /boot /sys/hypervisor | grep -c -e paravane -e type", "0")?;
    without.send_line("systemctl poweroff")?;
    without.end(COMMAND_TIME)?;
    Ok(Outcome::Success)
}

fn login(machine: &mut Dialogue) -> Result<()> {
    machine.expect("login:", BOOT_TIME)?;
    machine.send_line("root")?;
    machine.expect("Debian 12 as control domain", COMMAND_TIME)?;
    machine.expect("# ", COMMAND_TIME)
}

/// Runs `command` in the shell; its last line should be `answer`.
fn ask(machine: &mut Dialogue, command: &str, answer: &str) -> Result<()> {
    ensure!(!answer.is_empty(), "an empty answer is never missed");
    machine.send_line(&format!("echo =$({command} | tail -n 1)=$((6*7))"))?;
    machine.expect(&format!("={answer}=42"), COMMAND_TIME)
}
