//! Test guests: each folder under `guests/` whose manifest has `[package.metadata.paravane]` is one
//! test. The guest's own `RESULT:` line is the outcome.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Bench, Outcome, Report, Test};
use crate::artefacts::programs;
use crate::commands::bench::COUNTED;
use crate::foundation::size::Size;
use crate::foundation::workspace;
use crate::virtual_machine::host::{GuestModule, Host, Load};
use crate::virtual_machine::machine::{self, Contents};
use crate::virtual_machine::monitor;
use crate::virtual_machine::monitor::Monitor;
use crate::virtual_machine::session::{END_TIME, Limits, RESULT, Session, SessionEvent};

/// Default time limit of a guest.
const TIME: Duration = Duration::from_secs(60);

/// The processor on which guests run with all defences.
const DEFENDED_ON: &str = "EPYC";

/// Printed by a guest that wants NMIs from then on.
const READY_FOR_NMIS: &str = "ready for NMIs";

/// Printed by a guest that runs a process with which the mappings can be listed.
const READY_FOR_LIST: &str = "ready for a list of the mappings";

/// The image, its size in memory, and the most pages that a restricted root maps of it.
const IMAGE: u64 = 0xffff_8080_0020_0000;
const IMAGE_SIZE: u64 = 64 << 20;
const MAX_CODE: usize = 8;

/// The window of pCPU 0, and the size of the part that a restricted root maps.
const WINDOW: u64 = 0xffff_8180_0000_0000;
const WINDOW_PART: u64 = 2 << 20;

/// A test guest's manifest.
#[derive(Clone, Debug)]
struct Manifest {
    name: String,
    memory: Size,
    vcpus: u32,
    cpus: u32,
    time: Duration,
    command_line: String,
    /// A file in its folder that becomes its ramdisk.
    ramdisk: Option<PathBuf>,
    /// Interval at which the machine's CPUs get an NMI.
    nmi: Option<Duration>,
    /// Words for the hypervisor's command line.
    options: String,
    /// Whether it also runs with all defences against transient execution.
    defended: bool,
    /// Whether the mappings are compared with what a restricted root may have.
    mappings: bool,
    /// Whether the hypervisor may end it instead of the guest reporting success.
    may_be_killed: bool,
    /// Other guests that are started after it, each by its name and any words for its command line;
    /// each has to succeed too.
    with: Vec<String>,
    /// Only started together with others.
    helper: bool,
    /// Only in the long form of the tests.
    full: bool,
    /// Whether the emulator counts instructions.
    counted: bool,
    /// Largest latency that the hypervisor may report, in nanoseconds.
    longest_stretch: Option<u64>,
    longest_wait: Option<u64>,
}

/// Builds and boots all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    let Some(manifests) = report.prepared("test guests", manifests()) else { return };
    if manifests.is_empty() {
        return;
    }
    let Some(programs) = report.prepared("test guests", programs::test_guests()) else { return };
    for manifest in manifests.values().filter(|manifest| !manifest.helper && (test.full || !manifest.full)) {
        let name = format!("guest {}", manifest.name);
        test.on_machine(report, &name, || boot(bench, manifest, false, &manifests, &programs));
        if manifest.defended {
            let name = format!("{name}, all defences");
            test.on_machine(report, &name, || boot(bench, manifest, true, &manifests, &programs));
        }
    }
}

fn boot(
    bench: &Bench,
    manifest: &Manifest,
    defended: bool,
    all: &BTreeMap<String, Manifest>,
    programs: &BTreeMap<String, PathBuf>,
) -> Result<Outcome> {
    if !bench.host.is_paravane() && !manifest.with.is_empty() {
        return Ok(Outcome::Skip("needs several guests, which only Paravane starts".into()));
    }
    let mut started = vec![manifest.clone()];
    for with in &manifest.with {
        let (name, words) = with.split_once(' ').unwrap_or((with, ""));
        let mut guest =
            all.get(name).with_context(|| format!("there is no guest {name} to be started with it"))?.clone();
        guest.command_line = format!("{} {words}", guest.command_line).trim().to_owned();
        started.push(guest);
    }
    // A guest may be started more than once, so each gets a number.
    let names: Vec<String> = (1..).zip(&started).map(|(number, guest)| format!("{}-{number}", guest.name)).collect();
    let ramdisks: Vec<String> = names.iter().map(|name| format!("{name}.ramdisk")).collect();
    let mut files = Vec::new();
    let mut guests = Vec::new();
    for ((name, ramdisk), guest) in names.iter().zip(&ramdisks).zip(&started) {
        let program = programs.get(&guest.name).with_context(|| format!("cargo built no {}", guest.name))?;
        files.push((name.as_str(), Contents::File(program.clone())));
        files.extend(guest.ramdisk.iter().map(|file| (ramdisk.as_str(), Contents::File(file.clone()))));
        guests.push(GuestModule {
            name: name.clone(),
            memory: guest.memory,
            vcpus: guest.vcpus,
            kernel: name.clone(),
            ramdisk: guest.ramdisk.is_some().then(|| ramdisk.clone()),
            command_line: guest.command_line.clone(),
        });
    }
    // Another hypervisor does not have to power off when its initial domain ends.
    let powers_off = bench.host.is_paravane();
    let end = if powers_off { END_TIME } else { Duration::from_secs(1) };
    let counted: &[&str] = if manifest.counted { &COUNTED } else { &[] };
    let watched: &[&str] = if manifest.nmi.is_some() || manifest.mappings { &monitor::ARGUMENTS } else { &[] };
    let arguments = counted.iter().chain(watched).map(ToString::to_string).collect();
    let memory: u64 = started.iter().map(|guest| guest.memory.in_mib()).sum();
    let memory = machine::host_memory(1, Size::mib(memory));
    let limits = Limits { boot: None, whole: Some(manifest.time), end };
    let mut setup = bench.setup(manifest.cpus, memory, Load::Guests(guests), files, limits);
    setup.arguments = arguments;
    setup.options = format!("{} {}", setup.options, manifest.options).trim().to_owned();
    if defended {
        bench.defend(&mut setup, DEFENDED_ON);
    }
    if let Host::Other(_) = bench.host {
        setup.options = format!("dom0_mem={}", manifest.memory);
    }
    let log = format!("guest-{}{}", manifest.name, if defended { "-defended" } else { "" });
    let mut booted = setup.boot(&machine::log_file("test-logs", &log)?)?;
    for (name, guest) in names.iter().zip(&started) {
        if guest.may_be_killed {
            booted.session.may_be_killed(name);
        }
    }
    // Firmware does not survive an NMI, so the guest reports when it is ready.
    let folder = booted.folder().to_owned();
    let mut nmis = manifest.nmi;
    let (mut trouble, mut sending) = (None, None);
    let life = booted.session.follow(booted.limits, |_, event| {
        if let SessionEvent::Log(line) = event
            && line.contains(READY_FOR_NMIS)
            && let Some(pause) = nmis.take()
        {
            match Monitor::connect(&folder) {
                Ok(monitor) => sending = Some(monitor.keep_sending_nmis(pause)),
                Err(error) => trouble = Some(error),
            }
        }
        if let SessionEvent::Log(line) = event
            && line.contains(READY_FOR_LIST)
            && manifest.mappings
        {
            trouble = Monitor::connect(&folder).and_then(check_mappings).err();
        }
        if let SessionEvent::Log(line) = event
            && line.contains(RESULT)
        {
            sending = None;
        }
    });
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    let skipped = match outcome(&names, &started, &booted.session, powers_off && life.is_err())? {
        Outcome::Success => None,
        Outcome::Skip(reason) => Some(reason),
        failure => return Ok(failure),
    };
    if powers_off {
        life?;
        if skipped.is_none() {
            check_latency(manifest, booted.session.log_path())?;
        }
    }
    Ok(skipped.map_or(Outcome::Success, Outcome::Skip))
}

/// The outcome by the results that the guests have reported. A guest may lack one if it may be
/// killed, or if the session itself has failed.
fn outcome(names: &[String], started: &[Manifest], session: &Session, has_failed: bool) -> Result<Outcome> {
    let log = session.log_path().display();
    let mut outcome = Outcome::Success;
    for (name, guest) in names.iter().zip(started) {
        let result = session.guests().get(name).and_then(|guest| guest.result.as_deref());
        let (kind, reason) = result.map_or(("", ""), |text| text.split_once(": ").unwrap_or((text, "")));
        match kind.trim() {
            "success" => {}
            "skip" => outcome = Outcome::Skip(reason.to_owned()),
            "failure" | "error" => return Ok(Outcome::Failure(format!("{name}: {kind}: {reason} (log: {log})"))),
            "" if guest.may_be_killed || has_failed => {}
            "" => bail!("{name} ended without a result (log: {log})"),
            other => bail!("{name}: unknown outcome '{other}' (log: {log})"),
        }
    }
    Ok(outcome)
}

/// Checks that ring 3 runs with a root table that maps only a restricted root's part of Paravane
/// (`docs/soundness.md`), as the emulator lists it.
fn check_mappings(mut monitor: Monitor) -> Result<()> {
    const PARAVANE: Range<u64> = 0xffff_8080_0000_0000..0xffff_8800_0000_0000;
    let mut found: Vec<u64> = monitor.mappings_of_ring_3()?;
    ensure!(!found.is_empty(), "the emulator lists no mappings");
    found.retain(|address| PARAVANE.contains(address));
    let image: Vec<u64> = found.extract_if(.., |address| (IMAGE..IMAGE + IMAGE_SIZE).contains(address)).collect();
    ensure!((1..=MAX_CODE).contains(&image.len()), "the process's root maps {} pages of the image", image.len());
    let window = found.extract_if(.., |address| (WINDOW..WINDOW + WINDOW_PART).contains(address)).count();
    ensure!(window > 0, "the process's root does not map the pCPU's window");
    ensure!(found.is_empty(), "the process's root maps {} other pages, the first {:x?}", found.len(), found.first());
    Ok(())
}

/// Compares the latencies that the hypervisor reports at the end with the limits in the manifest.
fn check_latency(manifest: &Manifest, log: &Path) -> Result<()> {
    let text = fs::read_to_string(log)?;
    let limits =
        [("stretch without interrupts", manifest.longest_stretch), ("wait of a runnable vCPU", manifest.longest_wait)];
    for (what, limit) in limits {
        let Some(limit) = limit else { continue };
        let mark = format!("longest {what} ");
        let lines = text.lines().filter_map(|line| line.split_once(&mark)).map(|(_, rest)| rest);
        let worst =
            lines.max_by_key(|rest| nanoseconds(rest)).context("the hypervisor has not reported its longest waits")?;
        ensure!(
            nanoseconds(worst) <= limit,
            "longest {what}: {worst}, {limit} ns are allowed (log: {})",
            log.display()
        );
    }
    Ok(())
}

/// Parses the number at the start of a latency line.
fn nanoseconds(text: &str) -> u64 {
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX)
}

/// Memory and program of the hostile test guest, if there is one.
pub(super) fn hostile() -> Result<Option<(Size, PathBuf)>> {
    let manifests = manifests()?;
    let Some(manifest) = manifests.values().find(|manifest| manifest.name.starts_with("hostile") && !manifest.helper)
    else {
        return Ok(None);
    };
    let program =
        programs::test_guests()?.remove(&manifest.name).with_context(|| format!("cargo built no {}", manifest.name))?;
    Ok(Some((manifest.memory, program)))
}

fn manifests() -> Result<BTreeMap<String, Manifest>> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(workspace::root().join("guests"))? {
        let folder = entry?.path();
        let file = folder.join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let manifest = Manifest::parse(&text, &folder).with_context(|| format!("in {}", file.display()))?;
        manifests.extend(manifest.map(|manifest| (manifest.name.clone(), manifest)));
    }
    Ok(manifests)
}

impl Manifest {
    /// Reads the test metadata in the `Cargo.toml` of a folder; `None` if there is none.
    fn parse(text: &str, folder: &Path) -> Result<Option<Self>> {
        let value: toml::Table = toml::from_str(text)?;
        let Some(package) = value.get("package") else { return Ok(None) };
        let Some(table) = package.get("metadata").and_then(|metadata| metadata.get("paravane")) else {
            return Ok(None);
        };
        let table = table.as_table().context("package.metadata.paravane is not a table")?;
        let mut manifest = Self {
            name: package.get("name").and_then(toml::Value::as_str).context("the package has no name")?.into(),
            memory: Size::mib(64),
            vcpus: 1,
            cpus: 1,
            time: TIME,
            command_line: String::new(),
            ramdisk: None,
            nmi: None,
            options: String::new(),
            defended: false,
            mappings: false,
            may_be_killed: false,
            with: Vec::new(),
            helper: false,
            full: false,
            counted: false,
            longest_stretch: None,
            longest_wait: None,
        };
        for (key, value) in table {
            let wrong = || format!("{key} = {value} is not what that key takes");
            let string = || value.as_str().map(str::to_owned).with_context(wrong);
            let number = || value.as_integer().and_then(|value| u32::try_from(value).ok()).with_context(wrong);
            match key.as_str() {
                "memory" => manifest.memory = string()?.parse().map_err(anyhow::Error::msg)?,
                "vcpus" => manifest.vcpus = number()?,
                "cpus" => manifest.cpus = number()?,
                "timeout" => manifest.time = Duration::from_secs(number()?.into()),
                "cmdline" => manifest.command_line = string()?,
                "nmi" => manifest.nmi = Some(Duration::from_millis(number()?.into())),
                "options" => manifest.options = string()?,
                "defended" => manifest.defended = value.as_bool().with_context(wrong)?,
                "mappings" => manifest.mappings = value.as_bool().with_context(wrong)?,
                "ramdisk" => manifest.ramdisk = Some(folder.join(string()?)),
                "expect" => {
                    manifest.may_be_killed = match string()?.as_str() {
                        "success" => false,
                        "killed" => true,
                        other => bail!("unknown outcome to expect: {other}"),
                    }
                }
                "with" => {
                    let list = value.as_array().with_context(wrong)?;
                    let name = |value: &toml::Value| value.as_str().map(str::to_owned).with_context(wrong);
                    manifest.with = list.iter().map(name).collect::<Result<_>>()?;
                }
                "helper" => manifest.helper = value.as_bool().with_context(wrong)?,
                "full" => manifest.full = value.as_bool().with_context(wrong)?,
                "counted" => manifest.counted = value.as_bool().with_context(wrong)?,
                "longest_stretch" => manifest.longest_stretch = Some(number()?.into()),
                "longest_wait" => manifest.longest_wait = Some(number()?.into()),
                _ => bail!("package.metadata.paravane has an unknown key {key}"),
            }
        }
        Ok(Some(manifest))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Manifest;

    #[test]
    fn a_manifest_may_say_little_but_nothing_unknown() {
        let parse = |keys: &str| Manifest::parse(&format!("[package]\nname = \"a\"\n{keys}"), Path::new("a"));
        assert!(parse("").expect("valid").is_none());
        let manifest = parse("[package.metadata.paravane]\nvcpus = 2\nwith = [\"b\"]").expect("valid").expect("one");
        assert_eq!((manifest.vcpus, manifest.memory.in_mib()), (2, 64));
        assert_eq!(manifest.with, ["b"]);
        assert!(parse("[package.metadata.paravane]\nvcpu = 2").is_err());
        assert!(parse("[package.metadata.paravane]\nvcpus = -2").is_err());
        assert!(parse("[package.metadata.paravane]\nmemory = 2").is_err());
    }
}
