//! KVM or emulation. KVM is used only where the CPU supports virtualisation and a test boot works,
//! because a `/dev/kvm` may exist and still run ring 0 by slow emulation.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fmt, fs, thread};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::virtual_machine::emulator::{DEBUG_EXIT_PORT, QEMU};

/// How QEMU runs the machine's CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accelerator {
    /// Hardware virtualisation of the host.
    Kvm,
    /// Emulation.
    Tcg,
}

/// Time limit of the probe. With working KVM it ends within the first second of the firmware.
const PROBE_TIME: Duration = Duration::from_secs(15);

impl Accelerator {
    /// The accelerator to use, and the reason.
    pub(crate) fn choose(wanted: Option<Self>) -> Result<(Self, String)> {
        match (wanted, why_not_kvm()) {
            (Some(Self::Tcg), _) => Ok((Self::Tcg, "as asked".into())),
            (Some(Self::Kvm), Some(reason)) => bail!("KVM cannot be used: {reason}"),
            (None, Some(reason)) => Ok((Self::Tcg, reason)),
            (_, None) => Ok((Self::Kvm, "a probe worked".into())),
        }
    }

    /// The default CPU model.
    pub(crate) const fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "Haswell",
        }
    }

    /// QEMU's `-accel` value for a machine of `cpus` CPUs.
    pub(crate) const fn argument(self, cpus: u32) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg if cpus > 1 => "tcg,thread=multi",
            Self::Tcg => "tcg,thread=single",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG emulation",
        })
    }
}

fn why_not_kvm() -> Option<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    if !flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm") {
        return Some("this CPU offers no virtualisation".into());
    }
    if !Path::new("/dev/kvm").exists() {
        return Some("there is no /dev/kvm".into());
    }
    match probe() {
        Ok(true) => None,
        Ok(false) => Some("a probe machine did not run under it".into()),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Boots a sector under KVM that writes a number to the debug-exit port. QEMU then exits with twice
/// that number plus one.
fn probe() -> Result<bool> {
    const ANSWER: u8 = 0x10;
    let mut sector = vec![0u8; 512];
    let [low, high] = DEBUG_EXIT_PORT.to_le_bytes();
    // mov $PORT, %dx; mov $ANSWER, %al; out %al, %dx; hlt
    let code = [0xba, low, high, 0xb0, ANSWER, 0xee, 0xf4];
    sector[..code.len()].copy_from_slice(&code);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    fs::write(&disk, &sector)?;
    let mut child = Command::new(QEMU)
        .args(["-accel", "kvm", "-cpu", "host", "-m", "64", "-display", "none", "-nodefaults", "-no-user-config"])
        .args(["-device", &format!("isa-debug-exit,iobase={DEBUG_EXIT_PORT:#x},iosize=4")])
        .args(["-drive", "file=disk,format=raw,if=ide"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > PROBE_TIME {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(20));
    };
    Ok(status.and_then(|status| status.code()) == Some(i32::from(ANSWER) * 2 + 1))
}
