//! Paravane's consoles: each one that the options name carries the log, all of a list at the same
//! time, and no other does.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Bench, Outcome, Report, Test};
use crate::debian::kernels::KERNELS;
use crate::foundation::size::Size;
use crate::foundation::workspace;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::qemu;
use crate::virtual_machine::qemu::{Boot, Machine, Module};

/// A boot without guests, from power-on to power-off.
const TIME: Duration = Duration::from_secs(60);

/// The first and the last line of a boot without guests.
const LINES: [&str; 2] = ["(pv) Paravane ", "(pv) error: no guest could be started; powering off"];

/// The second ISA port, and a PCI card.
const SECOND: [&str; 2] = ["-serial", "file:second"];
const CARD: [&str; 4] = ["-chardev", "file,id=card,path=card", "-device", "pci-serial,chardev=card,addr=9"];

/// The names of the ports: the first is read by the test, the others write to files.
const PORTS: [&str; 3] = ["first", "second", "card"];

struct Case {
    name: &'static str,
    options: &'static str,
    /// Which of the ports carry the log.
    log: [bool; 3],
}

const CASES: [Case; 7] = [
    Case { name: "console com2", options: "console=com2", log: [false, true, false] },
    Case { name: "console com1 and com2", options: "console=com2,vga,com1 com2=115200,8n1", log: [true, true, false] },
    Case { name: "console by default", options: "", log: [true, false, false] },
    Case { name: "console com1 elsewhere", options: "com1=115200,8n1,0x2f8,3", log: [false, true, false] },
    Case { name: "console com1 as set", options: "com1=auto console=com1", log: [true, false, false] },
    Case { name: "console PCI card", options: "console=com1,com2 com1=115200,8n1,pci", log: [false, true, true] },
    Case {
        name: "console PCI card by place",
        options: "console=com1,com2 com2=115200,8n1,pci,0,00:09.0",
        log: [true, false, true],
    },
];

/// Runs all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    if !bench.host.is_paravane() {
        return;
    }
    for case in &CASES {
        test.on_machine(report, case.name, || boot(bench, case));
    }
    test.on_machine(report, "console PCI card, input", || input(bench));
}

/// A machine with files in `folder` that boots Paravane directly.
pub(super) fn machine(bench: &Bench, folder: &Path, options: &str, modules: Vec<Module>) -> Result<Machine> {
    let Host::Paravane(image) = &bench.host else { bail!("only Paravane's consoles are looked at") };
    Ok(Machine {
        accelerator: bench.accelerator,
        cpu: bench.cpu.clone().unwrap_or_else(|| bench.accelerator.cpu().into()),
        cpus: 1,
        memory: Size::mib(512),
        boot: Boot::Loaded { kernel: image.clone(), append: options.into(), modules },
        folder: folder.to_owned(),
        disks: Vec::new(),
        arguments: Vec::new(),
    })
}

fn boot(bench: &Bench, case: &Case) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
    let mut machine = machine(bench, folder.path(), case.options, Vec::new())?;
    machine.arguments = SECOND.iter().chain(&CARD).map(ToString::to_string).collect();
    let mut running = machine.start()?;
    let first = running.output(None, TIME)?;
    for (port, expected) in PORTS.into_iter().zip(case.log) {
        let bytes = if port == "first" { first.clone().into_bytes() } else { fs::read(folder.path().join(port))? };
        let text = String::from_utf8_lossy(&bytes);
        let found = LINES.map(|line| text.contains(line));
        if found != [expected; 2] {
            return Ok(Outcome::Failure(format!("the {port} port has said: {text:?}; {}", running.messages())));
        }
    }
    Ok(Outcome::Success)
}

/// Input on a card that raises no interrupt arrives.
fn input(bench: &Bench) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
    qemu::place(&KERNELS[0].file()?, folder.path(), "vmlinuz")?;
    let guest = Module { file: "vmlinuz".into(), arguments: "guest name=a memory=128M -- console=hvc0".into() };
    let mut machine = machine(bench, folder.path(), "com1=115200,8n1,pci", vec![guest])?;
    let card = ["-chardev", "socket,id=card,path=card,server=on,wait=off", "-device", "pci-serial,chardev=card"];
    machine.arguments = card.map(String::from).to_vec();
    let running = machine.start()?;
    let deadline = Instant::now() + TIME;
    let mut card = loop {
        match UnixStream::connect(folder.path().join("card")) {
            Ok(card) => break card,
            Err(error) if Instant::now() > deadline => return Err(error).context("QEMU has not made the socket"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    expect(&mut card, "(pv) domain 1: a", deadline)?;
    card.write_all(&[1, 1, 1])?;
    expect(&mut card, "(pv) serial input goes to paravane's keys", deadline)?;
    drop(running);
    Ok(Outcome::Success)
}

fn expect(card: &mut UnixStream, text: &str, deadline: Instant) -> Result<()> {
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains(text) {
        let rest = deadline.saturating_duration_since(Instant::now());
        card.set_read_timeout(Some(rest.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 4096];
        let length = card.read(&mut bytes).with_context(|| format!("no '{text}'"))?;
        if length == 0 {
            bail!("the machine went off before '{text}': {}", String::from_utf8_lossy(&heard));
        }
        heard.extend_from_slice(&bytes[..length]);
    }
    Ok(())
}
