//! The ways in which the program is run, and a boot of each.

use std::io::Write;
use std::time::Duration;
use std::{fmt, fs};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

use super::figures::Figures;
use crate::accelerator::Accelerator;
use crate::control_domain::{ControlDomain, Disk, Job};
use crate::host::{GuestModule, Host, Load};
use crate::machine::{self, Contents, Hardware, Setup};
use crate::ramdisk::Ramdisk;
use crate::session::{END_TIME, Happening, Limits, Stream};
use crate::size::Size;
use crate::{kernels, programs};

/// Memory of the guest, and of the kernel on the bare machine.
const MEMORY: Size = Size::mib(256);
/// A machine counts instructions slowly.
const TIME: Duration = Duration::from_secs(900);
/// What makes QEMU count instructions and start every machine from the same moment.
const COUNTED: [&str; 4] = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"];
/// The row that is counted from power-on.
const BOOT: &str = "boot";
/// What the control domain does on Xen: starts the guest and shows its console until that ends.
const GUEST: &str = "cat > /tmp/bench.cfg <<END
name = 'bench'
kernel = '/run/xtask/vmlinuz'
ramdisk = '/run/xtask/bench.ramdisk'
extra = '$KERNEL_LINE'
memory = $MEMORY
vcpus = 1
on_crash = 'destroy'
END
xl create -qp /tmp/bench.cfg || exit
tty=
while [ -z \"$tty\" ]; do tty=$(xenstore-read /local/domain/$(xl domid bench)/console/tty); done
stty -F $tty raw -echo
(sleep 1; xl unpause bench) &
cat $tty
true";
/// Hands the serial input to Paravane's keys, prints the counters, and hands it back to the one guest.
const COUNTERS_KEY: &[u8] = b"\x01\x01\x01p\x01\x01\x01";

/// Where the kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// On the machine itself.
    Bare,
    /// As the initial domain of Debian's Xen.
    XenDom0,
    /// As a guest of Debian's Xen, started by its control domain.
    XenGuest,
    /// As the initial domain of Paravane.
    ParavaneDom0,
    /// As a guest of Paravane.
    ParavaneGuest,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::Bare, Self::XenDom0, Self::XenGuest, Self::ParavaneDom0, Self::ParavaneGuest];

    /// The way of that name.
    pub(super) fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|way| way.to_string() == name).with_context(|| format!("no way is called {name}"))
    }

    pub(crate) const fn is_paravane(self) -> bool {
        matches!(self, Self::ParavaneDom0 | Self::ParavaneGuest)
    }

    /// The way on Xen that a way on Paravane is compared with.
    pub(super) const fn rival(self) -> Option<Self> {
        match self {
            Self::ParavaneDom0 => Some(Self::XenDom0),
            Self::ParavaneGuest => Some(Self::XenGuest),
            Self::Bare | Self::XenDom0 | Self::XenGuest => None,
        }
    }

    /// What the kernel is there.
    pub(super) const fn role(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::XenDom0 | Self::ParavaneDom0 => "dom0",
            Self::XenGuest | Self::ParavaneGuest => "guest",
        }
    }

    fn host(self) -> Result<Host> {
        Ok(match self {
            Self::Bare => Host::Bare,
            Self::XenDom0 | Self::XenGuest => Host::named(Some("xen"))?,
            Self::ParavaneDom0 | Self::ParavaneGuest => Host::named(None)?,
        })
    }

    /// Boots the kernel with a ramdisk; the session is the caller's to follow.
    pub(crate) fn boot(self, ramdisk: Ramdisk, arguments: Vec<String>) -> Result<machine::Booted> {
        let host = self.host()?;
        let log = machine::log_file("bench-logs", &self.to_string())?;
        let arguments = COUNTED.into_iter().map(String::from).chain(arguments).collect();
        let options = match self {
            Self::XenDom0 | Self::XenGuest => "xpti=off spec-ctrl=no",
            Self::Bare | Self::ParavaneDom0 | Self::ParavaneGuest => "",
        };
        if self == Self::XenGuest {
            let hardware = Hardware {
                cpus: Some(1),
                host_append: options.into(),
                timeout: Some(TIME.as_secs()),
                arguments,
                ..Hardware::default()
            };
            let disk = Disk::prepared(&[])?;
            let script = format!("KERNEL_LINE='{}'; MEMORY={}; {GUEST}", command_line(&host), MEMORY.in_mib());
            let control_domain = ControlDomain {
                hardware: &hardware,
                vcpus: None,
                memory: None,
                append: "mitigations=off nokaslr",
                job: Job::Command(&["sh".into(), "-c".into(), script.into()]),
                files: vec![
                    ("vmlinuz".into(), fs::read(kernels::named("debian12")?)?),
                    ("bench.ramdisk".into(), ramdisk.finish()?),
                ],
            };
            return control_domain.boot(&host, Accelerator::Tcg, &disk, &log);
        }
        let initial = matches!(self, Self::XenDom0 | Self::ParavaneDom0);
        let guest = GuestModule {
            name: if initial { "Domain-0" } else { "bench" }.into(),
            memory: MEMORY,
            vcpus: 1,
            kernel: "vmlinuz".into(),
            ramdisk: Some("ramdisk".into()),
            command_line: command_line(&host),
        };
        let setup = Setup {
            host: &host,
            accelerator: Accelerator::Tcg,
            cpu: None,
            cpus: 1,
            memory: if self == Self::Bare { MEMORY } else { machine::host_memory(1, MEMORY) },
            load: if initial { Load::Initial(guest) } else { Load::Guests(vec![guest]) },
            disks: Vec::new(),
            files: vec![
                ("vmlinuz", Contents::File(kernels::named("debian12")?)),
                ("ramdisk", Contents::Bytes(ramdisk.finish()?)),
            ],
            options: options.into(),
            raw: false,
            limits: Limits { boot: Some(TIME), whole: Some(TIME), end: END_TIME },
            arguments,
        };
        setup.boot(&log)
    }

    /// Measures the wanted rows, and, with `counters`, what Paravane counts for each.
    pub(super) fn measure(self, wanted: &[String], counters: bool, figures: &mut Figures) -> Result<()> {
        eprintln!("{self}: measuring");
        let output = self.run("measure", wanted)?;
        for line in output.iter().filter_map(|line| line.strip_prefix("row ")) {
            let (row, ticks) = line.split_once(' ').context("a row without figure")?;
            // There it would be the time of the control domain's boot, its tools and the guest's.
            if row == BOOT && self == Self::XenGuest {
                continue;
            }
            figures.add(row, self, ticks.parse().context("a figure that is no number")?);
        }
        if counters {
            eprintln!("{self}: counting");
            count(self, &self.run("steps", wanted)?, figures)?;
        }
        Ok(())
    }

    /// Runs the program and returns its lines, between them what Paravane said of its counters. At each of the program's marks it is
    /// asked for them, and the program told to go on.
    fn run(self, task: &str, wanted: &[String]) -> Result<Vec<String>> {
        let mut booted = self.boot(ramdisk(task, wanted)?, Vec::new())?;
        let mut lines = Vec::new();
        let (mut text, mut console) = (String::new(), String::new());
        let mut failed = String::new();
        let mut input = booted.session.take_input();
        let life = booted.session.follow(booted.limits, |_, happening| match happening {
            Happening::Log(line) => lines.extend(line.strip_prefix("(host) ").map(String::from)),
            Happening::Output(_, Stream::Err, bytes) => failed.push_str(&String::from_utf8_lossy(&bytes)),
            Happening::Output(_, Stream::Out, bytes) => {
                let said = String::from_utf8_lossy(&bytes);
                text.push_str(&if self == Self::XenGuest { inside(&mut console, &said) } else { said.into_owned() });
                while let Some((line, rest)) = text.split_once('\n') {
                    if line.starts_with("begin ") || line.starts_with("end ") {
                        // A machine that has gone is noticed where its output ends.
                        let _ = input.as_mut().map(|input| input.write_all(&[COUNTERS_KEY, b"\n"].concat()));
                    }
                    lines.push(line.to_owned());
                    text = rest.to_owned();
                }
            }
            _ => {}
        });
        let status = booted.session.guests().values().find_map(|guest| guest.status);
        // A whole Debian takes its time to switch off, but has said all there is to say before.
        if self != Self::XenGuest || status.is_none() {
            life?;
        }
        ensure!(status == Some(0), "the program ended with {status:?}: {failed}");
        ensure!(
            lines.iter().any(|line| line.starts_with("row ") || line.starts_with("end ")),
            "nothing was measured: {failed}"
        );
        Ok(lines)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Bare => "bare",
            Self::XenDom0 => "xen-dom0",
            Self::XenGuest => "xen-guest",
            Self::ParavaneDom0 => "paravane-dom0",
            Self::ParavaneGuest => "paravane-guest",
        })
    }
}

/// The kernel's command line: the same everywhere but for the console; nothing in it is left to chance.
fn command_line(host: &Host) -> String {
    format!("console={} hostname=bench quiet mitigations=off nokaslr norandmaps", host.console())
}

/// A ramdisk that runs the program's `task` for the wanted rows.
pub(crate) fn ramdisk(task: &str, wanted: &[String]) -> Result<Ramdisk> {
    let mut ramdisk = Ramdisk::bootable()?;
    ramdisk.file("programs/benchmark", 0o755, &fs::read(programs::built("benchmark", "benchmark")?)?)?;
    let words = ["/programs/benchmark", task].into_iter().chain(wanted.iter().map(String::as_str));
    ramdisk.command("", &words.map(Into::into).collect::<Vec<_>>())?;
    Ok(ramdisk)
}

/// Takes apart what the control domain shows of its guest's console: whole lines in `text` move away, and the guest's own output comes back.
fn inside(console: &mut String, text: &str) -> String {
    console.push_str(text);
    let mut output = String::new();
    while let Some((line, rest)) = console.split_once('\n') {
        let frame = line.trim_end().strip_prefix("@run out ");
        if let Some(bytes) = frame.and_then(|frame| STANDARD.decode(frame).ok()) {
            output.push_str(&String::from_utf8_lossy(&bytes));
        }
        *console = rest.to_owned();
    }
    output
}

/// Takes the counters out of the lines between the marks. What the marks themselves cost is known from a row that does nothing.
fn count(way: Way, lines: &[String], figures: &mut Figures) -> Result<()> {
    let mut readings: Vec<(String, u64)> = Vec::new();
    let mut before = Vec::new();
    let mut marks: Vec<(String, u64)> = Vec::new();
    let mut mark = String::new();
    for line in lines {
        if let Some(rest) = line.strip_prefix("counter ") {
            let (name, value) = rest.rsplit_once(' ').context("a counter without value")?;
            readings.push((name.into(), value.parse().context("a counter that is no number")?));
        } else if line.starts_with("serial input goes to guest") {
            let reading = core::mem::take(&mut readings);
            let mut words = mark.split(' ');
            match (words.next(), words.next(), words.next().and_then(|times| times.parse::<u64>().ok())) {
                (Some("begin"), ..) => before = reading,
                (Some("end"), Some(row), Some(times)) => {
                    let since = |(name, value): &(String, u64)| {
                        let start = before.iter().find(|(other, _)| other == name).map_or(0, |(_, value)| *value);
                        (name.clone(), value - start)
                    };
                    let counts: Vec<(String, u64)> = reading.iter().map(since).collect();
                    if row == "none" {
                        marks = counts;
                        continue;
                    }
                    for (name, value) in counts {
                        let own = marks.iter().find(|(other, _)| *other == name).map_or(0, |(_, value)| *value);
                        figures.add_count(row, way, &name, (value as f64 - own as f64) / times as f64);
                    }
                }
                _ => bail!("counters without a mark"),
            }
        } else if line.starts_with("begin ") || line.starts_with("end ") {
            mark.clone_from(line);
        }
    }
    Ok(())
}
