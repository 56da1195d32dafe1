//! How throughput grows with CPUs and guests: no instructions are counted here, time is the clock's.

use anyhow::{Context, Result, ensure};

use super::figures::{Figures, PER_SECOND};
use super::way::{HOST_MEMORY, INITIAL, MEMORY, TIME, Way, command_line};
use super::{control, program};
use crate::control_domain::Disk;
use crate::host::{GuestModule, Load};
use crate::kernels;
use crate::machine::{self, Contents, Hardware};
use crate::session::{Happening, Stream};
use crate::size::Size;

/// pCPUs, and how many vCPUs the initial domain has on them.
const SHAPES: [(u32, &[u32]); 2] = [(2, &[1, 2]), (4, &[1, 2, 4])];
/// pCPUs below the crowds of guests.
const CROWD_CPUS: u32 = 4;
const CROWD_MEMORY: Size = Size::mib(3072);
/// What the program is told to do.
const TASK: &str = "throughput";

/// Measures all, in these ways.
pub(super) fn measure(ways: &[Way], figures: &mut Figures) -> Result<()> {
    let of = |kind: [Way; 2]| kind.into_iter().filter(|way| ways.contains(way));
    for (cpus, all_vcpus) in SHAPES {
        for &vcpus in all_vcpus {
            // One after the other, so that whatever else the machine does hits both alike.
            for way in of([Way::XenDom0, Way::ParavaneDom0]) {
                initial(way, cpus, vcpus, figures).with_context(|| format!("in the way {way}"))?;
            }
        }
    }
    for way in of([Way::XenGuest, Way::ParavaneGuest]) {
        crowd(way, figures).with_context(|| format!("in the way {way}"))?;
    }
    Ok(())
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
    let mut told = 0;
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some("rate"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) {
            let row = format!("{name}, {cpus} pCPUs, {vcpus} vCPUs");
            figures.add_of(&row, way, value.parse()?, PER_SECOND);
            told += 1;
        }
    }
    ensure!(told != 0, "nothing was measured");
    Ok(())
}

/// Guests of one vCPU each that begin at the same moment.
fn crowd(way: Way, figures: &mut Figures) -> Result<()> {
    eprintln!("{way}: crowds of guests on {CROWD_CPUS} pCPUs");
    let host = way.host()?;
    let disk = Disk::prepared(&[])?;
    let hardware = Hardware {
        cpus: Some(CROWD_CPUS),
        host_memory: Some(CROWD_MEMORY),
        host_append: way.options().into(),
        timeout: Some(TIME.as_secs()),
        ..Hardware::default()
    };
    let files = vec![
        ("vmlinuz".into(), std::fs::read(&disk.kernel)?),
        ("throughput.ramdisk".into(), program::ramdisk(TASK, &[])?.finish()?),
    ];
    let mut sums: Vec<(String, f64)> = Vec::new();
    let (lines, end) = control::run(way, &host, &disk, &hardware, TASK, files)?;
    for line in lines {
        let mut words = line.split(' ');
        if let (Some("rate"), Some(count), Some(name), Some(value)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            let row = format!("{name}, {CROWD_CPUS} pCPUs, {count} guests");
            let value: f64 = value.trim_end().parse()?;
            match sums.iter_mut().find(|(known, _)| *known == row) {
                Some((_, sum)) => *sum += value,
                None => sums.push((row, value)),
            }
        }
    }
    for (row, sum) in sums {
        figures.add_of(&row, way, sum, PER_SECOND);
    }
    end
}
