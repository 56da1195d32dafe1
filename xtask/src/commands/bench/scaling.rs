//! How throughput grows with CPUs and guests, in wall time instead of instructions.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, ensure};

use super::configuration::{Configuration, Defences, HOST_MEMORY, INITIAL, MEMORY, TIME, command_line};
use super::figures::{Figures, PER_SECOND};
use super::{control, program};
use crate::debian::control_disk::Disk;
use crate::debian::kernels;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Load};
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::{Contents, Hardware};
use crate::virtual_machine::session::{SessionEvent, Stream};

/// Numbers of pCPUs, each with numbers of vCPUs of the initial domain.
const SHAPES: [(u32, &[u32]); 2] = [(2, &[1, 2]), (4, &[1, 2, 4])];
/// pCPUs for the rows with many guests.
const CROWD_CPUS: u32 = 2;
const CROWD_MEMORY: Size = Size::mib(3072);
/// The task given to the program.
const TASK: &str = "throughput";

/// Measures all rows in these configurations. A failure does not stop the others; all failures are
/// returned.
pub(super) fn measure(configurations: &[Configuration], defences: Defences, figures: &mut Figures) -> Vec<Error> {
    let mut failed = Vec::new();
    let mut note = |result: Result<()>, configuration: Configuration| {
        failed.extend(result.with_context(|| format!("in the configuration {configuration}")).err());
    };
    let of = |kind: [Configuration; 2]| kind.into_iter().filter(|configuration| configurations.contains(configuration));
    for (cpus, all_vcpus) in SHAPES {
        for &vcpus in all_vcpus {
            // In turn, so that other load on the host affects both alike.
            for configuration in of([Configuration::XenDom0, Configuration::ParavaneDom0]) {
                note(initial(configuration, defences, cpus, vcpus, figures), configuration);
            }
        }
    }
    for configuration in of([Configuration::XenGuest, Configuration::ParavaneGuest]) {
        note(crowd(configuration, defences, figures), configuration);
    }
    failed
}

/// Measures the initial domain with some vCPUs, all of them busy.
fn initial(
    configuration: Configuration,
    defences: Defences,
    cpus: u32,
    vcpus: u32,
    figures: &mut Figures,
) -> Result<()> {
    eprintln!("{configuration}: {vcpus} vCPUs on {cpus} pCPUs");
    let host = configuration.host()?;
    let domain = GuestModule {
        name: INITIAL.into(),
        memory: MEMORY,
        vcpus,
        kernel: "vmlinuz".into(),
        ramdisk: Some("ramdisk".into()),
        command_line: command_line(&host),
    };
    let files = vec![
        ("vmlinuz", Contents::File(kernels::named("debian12")?)),
        ("ramdisk", Contents::Bytes(program::ramdisk(TASK, &[])?.finish()?)),
    ];
    let mut setup = configuration.setup(defences, &host, Load::Initial(domain), files, HOST_MEMORY);
    setup.cpus = cpus;
    setup.arguments.clear();
    let mut booted = setup.boot(&machine::log_file("bench-logs", &format!("{configuration}-{cpus}-{vcpus}"))?)?;
    let mut input = booted.session.take_input();
    let (mut text, mut started) = (String::new(), false);
    booted.session.follow(booted.limits, |_, event| {
        let SessionEvent::Output(_, Stream::Out, bytes) = event else { return };
        text.push_str(&String::from_utf8_lossy(&bytes));
        if !started && text.contains('\n') {
            started = true;
            // A machine that has ended is noticed when its output ends.
            let _ = input.as_mut().map(|input| std::io::Write::write_all(input, b"\n"));
        }
    })?;
    let mut told = Rates::default();
    text.lines().filter_map(rate).for_each(|rate| told.add(rate));
    told.tell(
        configuration,
        |_, operation| format!("{operation}, {cpus} pCPUs, {vcpus} vCPU{}", plural(vcpus)),
        figures,
    )
}

/// Measures guests with one vCPU each that start at the same moment.
fn crowd(configuration: Configuration, defences: Defences, figures: &mut Figures) -> Result<()> {
    eprintln!("{configuration}: crowds of guests on {CROWD_CPUS} pCPUs");
    let host = configuration.host()?;
    let disk = Disk::prepared(&[])?;
    let hardware = Hardware {
        cpus: Some(CROWD_CPUS),
        host_memory: Some(CROWD_MEMORY),
        host_append: defences.options().into(),
        timeout: Some(TIME.as_secs()),
        ..Hardware::default()
    };
    let files = vec![
        ("vmlinuz".into(), std::fs::read(&disk.kernel)?),
        ("throughput.ramdisk".into(), program::ramdisk(TASK, &[])?.finish()?),
    ];
    let (lines, end) = control::run(configuration, &host, &disk, &hardware, TASK, files)?;
    let mut told = Rates::default();
    lines.iter().filter_map(|line| rate(line)).for_each(|rate| told.add(rate));
    let row = |guests, operation: &str| format!("{operation}, {CROWD_CPUS} pCPUs, {guests} guest{}", plural(guests));
    // Use the measurements even if the script failed: its error is more specific than 'nothing
    // measured'.
    let measured = told.tell(configuration, row, figures);
    end.and(measured)
}

const fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A line of the program: its result in one round, and the number of guests (zero if there are no
/// others).
struct Rate<'a> {
    guests: u32,
    round: u32,
    operation: &'a str,
    value: f64,
}

/// Parses `rate [GUESTS] ROUND OPERATION VALUE`.
fn rate(line: &str) -> Option<Rate<'_>> {
    let words: Vec<&str> = line.trim_end().strip_prefix("rate ")?.split(' ').collect();
    let (guests, [round, operation, value]) = match words[..] {
        [round, operation, value] => (0, [round, operation, value]),
        [guests, round, operation, value] => (guests.parse().ok()?, [round, operation, value]),
        _ => return None,
    };
    Some(Rate { guests, round: round.parse().ok()?, operation, value: value.parse().ok()? })
}

/// The sum over all guests, for each round.
#[derive(Default)]
struct Rates {
    sums: BTreeMap<(u32, String), BTreeMap<u32, f64>>,
}

impl Rates {
    fn add(&mut self, rate: Rate<'_>) {
        let rounds = self.sums.entry((rate.guests, rate.operation.into())).or_default();
        *rounds.entry(rate.round).or_default() += rate.value;
    }

    /// The best round counts, because other load on the host only slows rounds down.
    fn tell(
        &self,
        configuration: Configuration,
        row: impl Fn(u32, &str) -> String,
        figures: &mut Figures,
    ) -> Result<()> {
        ensure!(!self.sums.is_empty(), "nothing was measured");
        for ((guests, operation), rounds) in &self.sums {
            let best = rounds.values().copied().fold(0.0, f64::max);
            figures.add_of(&row(*guests, operation), configuration, best, PER_SECOND);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Figures, Rates, rate};

    #[test]
    fn the_best_round_of_all_guests_together_counts() {
        let mut told = Rates::default();
        let lines =
            ["rate 2 1 exec 10.0", "rate 2 2 exec 7", "rate 2 1 exec 3", "rate 2 2 exec 8.5\r", "row exec 3", "rate 1"];
        lines.iter().filter_map(|line| rate(line)).for_each(|rate| told.add(rate));
        let mut figures = Figures::default();
        let row = |guests, operation: &str| format!("{operation} {guests}");
        told.tell(Configuration::XenGuest, row, &mut figures).expect("something was told");
        assert!(figures.tables().contains("| exec 2       |        16 |"), "{}", figures.tables());
        assert!(Rates::default().tell(Configuration::XenGuest, row, &mut figures).is_err());
    }
}
