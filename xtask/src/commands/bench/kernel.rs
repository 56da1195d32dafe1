//! Measurements of the test kernel `costs` as initial domain immediately after its start:
//! hypercalls, the boot time of the hypervisor, and the memory that the hypervisor reserves.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::configuration::{Configuration, Defences, HOST_MEMORY, INITIAL, MEMORY};
use super::figures::{BYTES, Figures};
use crate::artefacts::programs;
use crate::debian::kernels;
use crate::foundation::size::Size;
use crate::foundation::{command, tools};
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::Contents;
use crate::virtual_machine::session::SessionEvent;

/// Rows that a guest measures too.
pub(super) const HYPERCALLS: &[&str] =
    &["hypercall-empty", "update-entry", "update-address", "multicall-32", "pin-unpin"];
/// All rows of this module.
pub(super) const ROWS: &[&str] = &[
    HYPERCALLS[0],
    HYPERCALLS[1],
    HYPERCALLS[2],
    HYPERCALLS[3],
    HYPERCALLS[4],
    BOOT,
    BOOT_COMPRESSED,
    MEMORY_HOST,
    MEMORY_PER_MIB,
];
const BOOT: &str = "hypervisor-boot";
const BOOT_COMPRESSED: &str = "hypervisor-boot-xz";
const MEMORY_HOST: &str = "memory-host";
const MEMORY_PER_MIB: &str = "memory-per-mib";

/// A second machine size, from which the cost per MiB of memory is derived.
const SMALLER: Size = Size::mib(1024);
const PAGE: u64 = 4096;
/// Fields of a bzImage header: number of setup sectors minus one, offset of the payload in the
/// protected-mode part, and length of the payload.
const SETUP_SECTORS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Results of one boot of the kernel.
#[derive(Default)]
struct Told {
    costs: Vec<(String, u64)>,
    /// Frames of the domain, and free frames.
    memory: Option<(u64, u64)>,
}

/// Measures all rows.
pub(super) fn measure(configuration: Configuration, defences: Defences, figures: &mut Figures) -> Result<()> {
    eprintln!("{configuration}: hypercalls, boot and memory");
    let program = file()?;
    let host = configuration.host()?;
    let entry =
        boot(configuration, defences, &Host::Other(programs::entry()?), &Contents::File(program.clone()), HOST_MEMORY)?;
    let entry = entry.cost("entry")?;
    let usual = boot(configuration, defences, &host, &Contents::File(program.clone()), HOST_MEMORY)?;
    for row in HYPERCALLS {
        figures.add(row, configuration, usual.cost(row)?);
    }
    figures.add(BOOT, configuration, usual.cost("start")? - entry);
    let compressed = boot(configuration, defences, &host, &Contents::Bytes(compressed(&program)?), HOST_MEMORY)?;
    figures.add(BOOT_COMPRESSED, configuration, compressed.cost("start")? - entry);

    let kept = usual.kept(HOST_MEMORY)?;
    let kept_of_less = boot(configuration, defences, &host, &Contents::File(program), SMALLER)?.kept(SMALLER)?;
    figures.add_of(MEMORY_HOST, configuration, kept as f64, BYTES);
    let each = (kept as f64 - kept_of_less as f64) / (HOST_MEMORY.in_mib() - SMALLER.in_mib()) as f64;
    figures.add_of(MEMORY_PER_MIB, configuration, each, BYTES);
    Ok(())
}

/// Builds the kernel.
pub(super) fn file() -> Result<std::path::PathBuf> {
    programs::test_guests()?.remove("costs").context("cargo built no test kernel costs")
}

/// Parses a line that the kernel printed into name and figure.
pub(super) fn cost(line: &str) -> Option<(&str, &str)> {
    line.trim_end().strip_prefix("cost ")?.split_once(' ')
}

fn boot(
    configuration: Configuration,
    defences: Defences,
    host: &Host,
    kernel: &Contents,
    memory: Size,
) -> Result<Told> {
    let domain = GuestModule {
        name: INITIAL.into(),
        memory: MEMORY,
        vcpus: 1,
        kernel: "kernel".into(),
        ramdisk: None,
        command_line: String::new(),
    };
    let setup = configuration.setup(defences, host, Load::Initial(domain), vec![("kernel", kernel.clone())], memory);
    let mut booted = setup.boot(&machine::log_file("bench-logs", &format!("{configuration}-costs"))?)?;
    // Xen does not have to power off when its initial domain ends.
    booted.limits.end = std::time::Duration::from_secs(1);
    let mut told = Told::default();
    let life = booted.session.follow(booted.limits, |_, event| {
        let SessionEvent::Log(line) = event else { return };
        let line = line.strip_prefix("[Domain-0] ").unwrap_or(line);
        if let Some((name, value)) = cost(line) {
            let value = if name == "entry" { u64::from_str_radix(value, 16) } else { value.parse() };
            told.costs.extend(value.map(|value| (name.to_owned(), value)));
        } else if let Some((own, free)) = line.strip_prefix("memory ").and_then(|rest| rest.split_once(' ')) {
            told.memory = own.parse().ok().zip(free.trim_end().parse().ok());
        }
    });
    if told.costs.is_empty() {
        life?;
    }
    let failed =
        booted.session.guests().values().find_map(|guest| guest.result.clone()).filter(|text| text != "success");
    ensure!(failed.is_none(), "the test kernel: {}", failed.unwrap_or_default());
    Ok(told)
}

impl Told {
    fn cost(&self, name: &str) -> Result<u64> {
        let found = self.costs.iter().find(|(told, _)| told == name);
        found.map(|(_, value)| *value).with_context(|| format!("the test kernel did not tell {name}"))
    }

    /// Bytes of the machine that are neither free nor the domain's.
    fn kept(&self, memory: Size) -> Result<u64> {
        let (own, free) = self.memory.context("the test kernel did not tell how much memory is free")?;
        Ok((memory.in_mib() << 20) - (own + free) * PAGE)
    }
}

/// Builds a bzImage that takes as long to decompress as Debian's: Debian's image with its payload
/// replaced by the kernel followed by Debian's decompressed payload.
fn compressed(program: &Path) -> Result<Vec<u8>> {
    tools::need_program("xz", "xz-utils")?;
    let mut image = fs::read(kernels::named("debian12")?)?;
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("Debian's kernel is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let start = (usize::from(image[SETUP_SECTORS]) + 1) * 512 + word(PAYLOAD_OFFSET)?;
    let length = word(PAYLOAD_LENGTH)?;
    let folder = tempfile::tempdir()?;
    let (packed, plain) = (folder.path().join("payload.xz"), folder.path().join("payload"));
    fs::write(&packed, image.get(start..start + length).context("Debian's kernel is too short")?)?;
    // The length follows the payload.
    let xz = |words: &[&str], file: &Path| -> Result<Vec<u8>> {
        Ok(command::quiet(Command::new("xz").args(words).stdin(File::open(file)?))?.stdout)
    };
    let kernel = [fs::read(program)?, xz(&["-dc", "--single-stream"], &packed)?].concat();
    fs::write(&plain, &kernel)?;
    let mut payload = xz(&["-c", "--check=crc32", "--x86", "--lzma2=preset=1,dict=32MiB"], &plain)?;
    payload.extend(u32::try_from(kernel.len())?.to_le_bytes());
    image.truncate(start);
    image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&u32::try_from(payload.len())?.to_le_bytes());
    image.extend(payload);
    Ok(image)
}
