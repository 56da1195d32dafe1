//! The control domain's ramdisk: the modules for its disk, and the files of this run.

use anyhow::Result;

use super::Job;
use crate::debian::control_disk::Disk;
use crate::debian::ramdisk::Ramdisk;

const INIT: &[u8] = include_bytes!("../../../controldomain/init");
const START: &[u8] = include_bytes!("../../../controldomain/start");
const DEMO: &[u8] = include_bytes!("../../../controldomain/demo.cfg");
/// The package's file in `/etc/modprobe.d`, which a step tests.
const MODPROBE: &[u8] = include_bytes!("../../../package/modprobe.conf");

/// Modules that the kernel needs for its disk.
const MODULES: [&str; 4] = ["crc32c_generic", "ahci", "sd_mod", "ext4"];

/// Builds the ramdisk for `disk` and `job`, with `files` in the folder that becomes `/run/xtask`.
pub(crate) fn ramdisk(disk: &Disk, job: Job<'_>, files: &[(String, Vec<u8>)]) -> Result<Ramdisk> {
    let mut ramdisk = Ramdisk::with_busybox(INIT)?;
    for folder in ["disk", "run"] {
        ramdisk.folder(folder)?;
    }
    ramdisk.modules(&disk.modules, &MODULES)?;
    ramdisk.file("run/start", 0o755, START)?;
    ramdisk.file("run/demo.cfg", 0o644, DEMO)?;
    ramdisk.file("run/modprobe.conf", 0o644, MODPROBE)?;
    for (name, contents) in files {
        ramdisk.file(&format!("run/{name}"), 0o644, contents)?;
    }
    match job {
        Job::Shell => {}
        Job::Command(words) => ramdisk.command("run/", words)?,
        Job::Steps(scenario, host) => {
            ramdisk.agent("run/")?;
            ramdisk.file("run/steps", 0o644, &scenario.encode(host))?;
        }
    }
    Ok(ramdisk)
}
