//! How throughput grows with CPUs and guests: no instructions are counted here, time is the
//! clock's.

use std::collections::BTreeMap;

use anyhow::{Context, Error, Result, ensure};

use super::figures::{Figures, PER_SECOND};
use super::way::{HOST_MEMORY, INITIAL, MEMORY, TIME, UNDEFENDED, Way, command_line};
use super::{control, program};
use crate::debian::control_disk::Disk;
use crate::debian::kernels;
use crate::foundation::size::Size;
use crate::virtual_machine::host::{GuestModule, Load};
use crate::virtual_machine::machine;
use crate::virtual_machine::machine::{Contents, Hardware};
use crate::virtual_machine::session::{Happening, Stream};

/// pCPUs, and how many vCPUs the initial domain has on them.
const SHAPES: [(u32, &[u32]); 2] = [(2, &[1, 2]), (4, &[1, 2, 4])];
/// pCPUs below the crowds of guests.
const CROWD_CPUS: u32 = 2;
const CROWD_MEMORY: Size = Size::mib(3072);
/// What the program is told to do.
const TASK: &str = "throughput";

/// Measures all, in these ways. One that fails does not keep the others from being measured: all
/// that went wrong is returned.
pub(super) fn measure(ways: &[Way], figures: &mut Figures) -> Vec<Error> {
    let mut failed = Vec::new();
    let mut note = |result: Result<()>, way: Way| {
        failed.extend(result.with_context(|| format!("in the way {way}")).err());
    };
    let of = |kind: [Way; 2]| kind.into_iter().filter(|way| ways.contains(way));
    for (cpus, all_vcpus) in SHAPES {
        for &vcpus in all_vcpus {
            // One after the other, so that whatever else the machine does hits both alike.
            for way in of([Way::XenDom0, Way::ParavaneDom0]) {
                note(initial(way, cpus, vcpus, figures), way);
            }
        }
    }
    for way in of([Way::XenGuest, Way::ParavaneGuest]) {
        note(crowd(way, figures), way);
    }
    failed
}

/// The initial domain with some vCPUs, all of them at work.
fn initial(way: Way, cpus: u32, vcpus: u32, figures: &mut Figures) -> Result<()> {
    eprintln!("{way}: {vcpus} vCPUs on {cpus} pCPUs");
    let host = way.host()?;
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
    let mut setup = way.setup(&host, Load::Initial(domain), files, HOST_MEMORY);
    setup.cpus = cpus;
    setup.arguments.clear();
    let mut booted = setup.boot(&machine::log_file("bench-logs", &format!("{way}-{cpus}-{vcpus}"))?)?;
    let mut input = booted.session.take_input();
    let (mut text, mut started) = (String::new(), false);
    booted.session.follow(booted.limits, |_, happening| {
        let Happening::Output(_, Stream::Out, bytes) = happening else { return };
        text.push_str(&String::from_utf8_lossy(&bytes));
        if !started && text.contains('\n') {
            started = true;
            // A machine that has gone is noticed where its output ends.
            let _ = input.as_mut().map(|input| std::io::Write::write_all(input, b"\n"));
        }
    })?;
    let mut told = Rates::default();
    text.lines().filter_map(rate).for_each(|rate| told.add(rate));
    told.tell(way, |_, operation| format!("{operation}, {cpus} pCPUs, {vcpus} vCPU{}", plural(vcpus)), figures)
}

/// Guests of one vCPU each that begin at the same moment.
fn crowd(way: Way, figures: &mut Figures) -> Result<()> {
    eprintln!("{way}: crowds of guests on {CROWD_CPUS} pCPUs");
    let host = way.host()?;
    let disk = Disk::prepared(&[])?;
    let hardware = Hardware {
        cpus: Some(CROWD_CPUS),
        host_memory: Some(CROWD_MEMORY),
        host_append: UNDEFENDED.into(),
        timeout: Some(TIME.as_secs()),
        ..Hardware::default()
    };
    let files = vec![
        ("vmlinuz".into(), std::fs::read(&disk.kernel)?),
        ("throughput.ramdisk".into(), program::ramdisk(TASK, &[])?.finish()?),
    ];
    let (lines, end) = control::run(way, &host, &disk, &hardware, TASK, files)?;
    let mut told = Rates::default();
    lines.iter().filter_map(|line| rate(line)).for_each(|rate| told.add(rate));
    let row = |guests, operation: &str| format!("{operation}, {CROWD_CPUS} pCPUs, {guests} guest{}", plural(guests));
    // What was measured counts, whatever ended the script; that says more than that nothing was.
    let measured = told.tell(way, row, figures);
    end.and(measured)
}

const fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A line of the program's: what it did in a round, in the presence of so many guests (zero if none
/// but itself could be).
struct Rate<'a> {
    guests: u32,
    round: u32,
    operation: &'a str,
    value: f64,
}

/// `rate [GUESTS] ROUND OPERATION VALUE`.
fn rate(line: &str) -> Option<Rate<'_>> {
    let words: Vec<&str> = line.trim_end().strip_prefix("rate ")?.split(' ').collect();
    let (guests, [round, operation, value]) = match words[..] {
        [round, operation, value] => (0, [round, operation, value]),
        [guests, round, operation, value] => (guests.parse().ok()?, [round, operation, value]),
        _ => return None,
    };
    Some(Rate { guests, round: round.parse().ok()?, operation, value: value.parse().ok()? })
}

/// What all have done together, in each round.
#[derive(Default)]
struct Rates {
    sums: BTreeMap<(u32, String), BTreeMap<u32, f64>>,
}

impl Rates {
    fn add(&mut self, rate: Rate<'_>) {
        let rounds = self.sums.entry((rate.guests, rate.operation.into())).or_default();
        *rounds.entry(rate.round).or_default() += rate.value;
    }

    /// The best round counts: whatever else the machine does makes rounds worse.
    fn tell(&self, way: Way, row: impl Fn(u32, &str) -> String, figures: &mut Figures) -> Result<()> {
        ensure!(!self.sums.is_empty(), "nothing was measured");
        for ((guests, operation), rounds) in &self.sums {
            let best = rounds.values().copied().fold(0.0, f64::max);
            figures.add_of(&row(*guests, operation), way, best, PER_SECOND);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Rates, Way, rate};

    #[test]
    fn the_best_round_of_all_guests_together_counts() {
        let mut told = Rates::default();
        let lines =
            ["rate 2 1 exec 10.0", "rate 2 2 exec 7", "rate 2 1 exec 3", "rate 2 2 exec 8.5\r", "row exec 3", "rate 1"];
        lines.iter().filter_map(|line| rate(line)).for_each(|rate| told.add(rate));
        let mut figures = Figures::default();
        let row = |guests, operation: &str| format!("{operation} {guests}");
        told.tell(Way::XenGuest, row, &mut figures).expect("something was told");
        assert!(figures.tables().contains("| exec 2       |        16 |"), "{}", figures.tables());
        assert!(Rates::default().tell(Way::XenGuest, row, &mut figures).is_err());
    }
}
