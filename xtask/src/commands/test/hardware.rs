//! The initial domain and real devices: a stock kernel verifies the contents of a disk, writes to
//! it, fetches a file over the network, and powers off, on both of QEMU's machine types and with
//! several kinds of devices.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Bench, Outcome, Report, Test, script_outcome};
use crate::debian::kernels::{KERNELS, Kernel};
use crate::debian::ramdisk::Ramdisk;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine::{self, Contents, Setup};
use crate::virtual_machine::qemu::Drive;
use crate::virtual_machine::session::{END_TIME, Limits, SessionEvent};

const LIMITS: Limits =
    Limits { boot: Some(Duration::from_secs(240)), whole: Some(Duration::from_secs(420)), end: END_TIME };

const MEMORY: Size = Size::mib(384);
const HOST_MEMORY: Size = Size::mib(768);

/// More vCPUs than those whose information is in the shared page (32).
const MANY_VCPUS: u32 = 40;

/// Size of the disk and of the fetched file, in bytes.
const DISK: usize = 8 << 20;
const FILE: usize = 1 << 20;

/// Modules of Debian 12's kernel, in the order in which they can be loaded.
const MODULES: [&str; 25] = [
    "scsi_common",
    "scsi_mod",
    "libata",
    "libahci",
    "ahci",
    "ata_piix",
    "crct10dif_common",
    "crct10dif_generic",
    "crc-t10dif",
    "crc64",
    "crc64_rocksoft_generic",
    "crc64-rocksoft",
    "t10-pi",
    "sd_mod",
    "e1000",
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "failover",
    "net_failover",
    "virtio_net",
];

/// Runs in the initial domain: `$1` is the disk.
const SCRIPT: &str = r#"
set -e
tries=0
until [ -b "/dev/$1" ]; do tries=$((tries + 1)); [ $tries -lt 300 ]; usleep 100000; done
echo "compares the disk"
cmp "/dev/$1" /disk
echo "writes to the disk"
dd if=/disk of="/dev/$1" bs=64k skip=64 seek=16 count=32 conv=fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
dd if="/dev/$1" bs=64k skip=16 count=32 2>/dev/null > /tmp/read
dd if=/disk bs=64k skip=64 count=32 2>/dev/null | cmp - /tmp/read
echo "waits for the network"
tries=0
until ping -c 1 -W 1 10.0.2.2 > /dev/null; do tries=$((tries + 1)); [ $tries -lt 30 ]; done
echo "fetches a file"
tftp -g -r file -l /tmp/file 10.0.2.2
head -c "$2" /disk | cmp - /tmp/file
echo "looks at the interrupts"
[ "$(grep -c xen-pirq /proc/interrupts)" -ge 3 ]
[ "$(nproc)" = "$3" ]
"#;

/// A machine and its devices.
struct Case {
    name: &'static str,
    cpus: u32,
    /// The disk as Linux names it.
    disk: &'static str,
    /// An AHCI disk from the session's files; otherwise the arguments name the disk.
    ahci: bool,
    arguments: &'static [&'static str],
}

const CASES: [Case; 6] = [
    Case {
        name: "hardware q35 with AHCI and e1000",
        cpus: 2,
        disk: "sda",
        ahci: true,
        arguments: &["-device", "e1000,netdev=net"],
    },
    Case {
        name: "hardware pc with IDE and e1000",
        cpus: 1,
        disk: "sda",
        ahci: false,
        arguments: &["-drive", "file=disk,format=raw,if=ide,snapshot=on", "-device", "e1000,netdev=net"],
    },
    // As on cloud machines: nothing tells the guest that device addresses differ from its own.
    Case {
        name: "hardware q35 with virtio without iommu_platform",
        cpus: 2,
        disk: "vda",
        ahci: false,
        arguments: &[
            "-machine",
            "q35",
            "-drive",
            "file=disk,format=raw,if=none,id=disk,snapshot=on",
            "-device",
            "virtio-blk-pci,drive=disk,disable-legacy=on",
            "-device",
            "virtio-net-pci,netdev=net,disable-legacy=on",
        ],
    },
    Case {
        name: "hardware pc with legacy virtio",
        cpus: 2,
        disk: "vda",
        ahci: false,
        arguments: &[
            "-drive",
            "file=disk,format=raw,if=none,id=disk,snapshot=on",
            "-device",
            "virtio-blk-pci,drive=disk,disable-modern=on,disable-legacy=off",
            "-device",
            "virtio-net-pci,netdev=net,disable-modern=on,disable-legacy=off",
        ],
    },
    Case {
        name: "hardware pc with virtio-scsi without iommu_platform",
        cpus: 1,
        disk: "sda",
        ahci: false,
        arguments: &[
            "-drive",
            "file=disk,format=raw,if=none,id=disk,snapshot=on",
            "-device",
            "virtio-scsi-pci",
            "-device",
            "scsi-hd,drive=disk",
            "-device",
            "virtio-net-pci,netdev=net",
        ],
    },
    Case {
        name: "hardware q35 with virtio",
        cpus: 4,
        disk: "vda",
        ahci: false,
        arguments: &[
            "-machine",
            "q35",
            "-drive",
            "file=disk,format=raw,if=none,id=disk,snapshot=on",
            "-device",
            "virtio-blk-pci,drive=disk,iommu_platform=on,disable-legacy=on",
            "-device",
            "virtio-net-pci,netdev=net,iommu_platform=on,disable-legacy=on",
        ],
    },
];

/// Runs all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    for case in &CASES {
        test.on_machine(report, case.name, || boot(bench, case));
    }
    if bench.host.is_paravane() {
        test.on_machine(report, "a crash of the initial domain restarts the host", || crash(bench));
        for cpus in [2, 4] {
            let name = format!("the initial domain powers the host off with {cpus} pCPUs");
            test.on_machine(report, &name, || power_off(bench, cpus));
        }
        let name = format!("the initial domain has {MANY_VCPUS} vCPUs");
        test.on_machine(report, &name, || many_vcpus(bench));
    }
}

/// Pseudo-random bytes, the same on each run.
fn contents() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(DISK);
    while bytes.len() < DISK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// Adds the modules and their order to the ramdisk.
fn add_modules(ramdisk: &mut Ramdisk, kernel: &Kernel) -> Result<()> {
    let folder = kernel.unpacked()?.join("lib/modules");
    ramdisk.folder("modules")?;
    let mut order = String::new();
    for name in MODULES {
        let file_name = format!("{name}.ko");
        let file = find(&folder, &file_name)?.with_context(|| format!("the kernel has no module {name}"))?;
        ramdisk.file(&format!("modules/{file_name}"), 0o644, &fs::read(file)?)?;
        order.push_str(&file_name);
        order.push('\n');
    }
    ramdisk.file("modules/order", 0o644, order.as_bytes())
}

/// Finds a file called `name` in `folder` or below.
fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|found| found == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn setup<'a>(bench: &'a Bench, cpus: u32, ramdisk: Vec<u8>) -> Result<Setup<'a>> {
    let domain = GuestModule {
        name: "Domain-0".into(),
        memory: MEMORY,
        vcpus: cpus,
        kernel: "vmlinuz".into(),
        ramdisk: Some("ramdisk".into()),
        command_line: format!("console={} address=10.0.2.15/24", bench.host.console()),
    };
    let files = vec![("vmlinuz", Contents::File(KERNELS[0].file()?)), ("ramdisk", Contents::Bytes(ramdisk))];
    Ok(bench.setup(cpus, HOST_MEMORY, Load::Initial(domain), files, LIMITS))
}

fn boot(bench: &Bench, case: &Case) -> Result<Outcome> {
    if matches!(bench.host, Host::Bare) {
        return Ok(Outcome::Skip("needs a hypervisor".into()));
    }
    let disk = contents();
    let mut ramdisk = Ramdisk::bootable()?;
    add_modules(&mut ramdisk, &KERNELS[0])?;
    ramdisk.file("disk", 0o644, &disk)?;
    ramdisk.file("script", 0o755, SCRIPT.as_bytes())?;
    let words = ["sh", "/script", case.disk, &FILE.to_string(), &case.cpus.to_string()];
    ramdisk.command("", &words.map(OsString::from))?;

    let mut setup = setup(bench, case.cpus, ramdisk.finish()?)?;
    setup.files.push(("file", Contents::Bytes(disk[..FILE].to_vec())));
    setup.files.push(("disk", Contents::Bytes(disk)));
    if case.ahci {
        setup.disks.push(Drive { file: "disk".into(), kept: false });
    }
    setup.arguments = ["-netdev", "user,id=net,tftp=."].iter().chain(case.arguments).map(ToString::to_string).collect();
    let booted = setup.boot(&machine::log_file("test-logs", &case.name.replace(' ', "-"))?)?;
    Ok(script_outcome(booted))
}

/// The vCPUs above 32 need `VCPUOP_register_vcpu_info` before they are started.
fn many_vcpus(bench: &Bench) -> Result<Outcome> {
    let mut ramdisk = Ramdisk::bootable()?;
    let script = format!("nproc; [ \"$(nproc)\" = {MANY_VCPUS} ]");
    ramdisk.command("", &["sh", "-c", &script].map(OsString::from))?;
    let mut setup = setup(bench, 2, ramdisk.finish()?)?;
    if let Load::Initial(domain) = &mut setup.load {
        domain.vcpus = MANY_VCPUS;
    }
    Ok(script_outcome(setup.boot(&machine::log_file("test-logs", "many-vcpus")?)?))
}

/// Registers are printed, and the machine restarts, which ends QEMU with these options.
fn crash(bench: &Bench) -> Result<Outcome> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.command("", &["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 1000"].map(OsString::from))?;
    let setup = setup(bench, 1, ramdisk.finish()?)?;
    ends_by_itself(
        setup,
        "crash",
        &["initial domain ended: crash", "d0v0 in kernel mode at", "restarting in 5 seconds"],
    )
}

/// All vCPUs run until the end, so every pCPU is running one when the domain is destroyed.
fn power_off(bench: &Bench, cpus: u32) -> Result<Outcome> {
    let mut ramdisk = Ramdisk::bootable()?;
    let script =
        format!("for cpu in $(seq {cpus}); do yes > /dev/null & done; echo o > /proc/sysrq-trigger; sleep 1000");
    ramdisk.command("", &["sh", "-c", &script].map(OsString::from))?;
    let setup = setup(bench, cpus, ramdisk.finish()?)?;
    ends_by_itself(setup, &format!("power-off-{cpus}"), &["initial domain ended: poweroff"])
}

/// Follows a machine that ends without a status of its initial domain. It has to print all that is
/// `wanted`, and to power off.
fn ends_by_itself(setup: Setup<'_>, name: &str, wanted: &[&str]) -> Result<Outcome> {
    let mut booted = setup.boot(&machine::log_file("test-logs", name)?)?;
    let mut lines = Vec::new();
    let life = booted.session.follow(booted.limits, |_, event| {
        if let SessionEvent::Log(line) = event {
            lines.push(line.to_owned());
        }
    });
    let error = life.err().context("the end was not noticed")?;
    ensure!(booted.session.is_off(), "the machine did not go off: {error:#}");
    for wanted in wanted {
        if !lines.iter().any(|line| line.contains(*wanted)) {
            return Ok(Outcome::Failure(format!(
                "nothing said \"{wanted}\" (log: {})",
                booted.session.log_path().display()
            )));
        }
    }
    Ok(Outcome::Success)
}
