//! The control domain's ramdisk: the modules of its disk, and what this run puts beside Debian.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result};

use super::disk::Disk;
use super::modules;
use crate::ramdisk::Ramdisk;

const INIT: &[u8] = include_bytes!("../../controldomain/init");
const START: &[u8] = include_bytes!("../../controldomain/start");

/// What stands between the kernel and its disk.
const MODULES: [&str; 4] = ["crc32c_generic", "ahci", "sd_mod", "ext4"];

/// The ramdisk for `disk`; the control domain runs `command`, or a shell if that is empty.
pub(crate) fn ramdisk(disk: &Disk, command: &[OsString]) -> Result<Ramdisk> {
    let mut ramdisk = Ramdisk::with_busybox(INIT)?;
    for folder in ["disk", "run", "modules"] {
        ramdisk.folder(folder)?;
    }
    let mut order = String::new();
    for file in modules::closure(&disk.modules, &MODULES)? {
        let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        ramdisk.file(&format!("modules/{name}"), 0o644, &bytes)?;
        order.push_str(&name);
        order.push('\n');
    }
    ramdisk.file("modules/order", 0o644, order.as_bytes())?;
    ramdisk.file("run/start", 0o755, START)?;
    if !command.is_empty() {
        ramdisk.command("run/", command)?;
    }
    Ok(ramdisk)
}
