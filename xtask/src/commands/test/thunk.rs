//! The form that boot gives to the thunk of indirect branches, read from the machine's memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Bench, Outcome, Report, Test, consoles};
use crate::artefacts::symbols;
use crate::foundation::workspace;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::monitor::{self, Monitor};
use crate::virtual_machine::qemu::{self, Event};

/// Time limit from power-on.
const TIME: Duration = Duration::from_secs(60);

/// The log's last line without guests.
const LAST: &str = "no guest could be started";

/// The thunk, and the distance of the image's addresses from physical ones (`image/link.ld`).
const THUNK: &str = "__x86_indirect_thunk_r11";
const IMAGE_OFFSET: u64 = 0xffff_8080_0000_0000;

const JUMP: [u8; 3] = [0x41, 0xff, 0xe3];
const NO_OPERATION: [u8; 3] = [0x0f, 0x1f, 0x00];
const LFENCE: [u8; 3] = [0x0f, 0xae, 0xe8];
/// A jump over LFENCE and the jump after it, to a call.
const TO_RETPOLINE: [u8; 7] = [0xeb, 4, 0xcc, 0xcc, 0xcc, 0xcc, 0xe8];

/// Runs all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &mut Report) {
    if !bench.host.is_paravane() {
        return;
    }
    let cases = [
        ("indirect branches are plain jumps", "spec-ctrl=bti-thunk=jmp", JUMP.to_vec()),
        ("indirect branches follow LFENCE", "spec-ctrl=bti-thunk=lfence", [NO_OPERATION, LFENCE, JUMP].concat()),
        (
            "indirect branches are retpolines",
            "spec-ctrl=bti-thunk=retpoline",
            [&NO_OPERATION[..], &TO_RETPOLINE].concat(),
        ),
    ];
    for (name, options, expected) in cases {
        test.on_machine(report, name, || boot(bench, options, &expected));
    }
}

fn boot(bench: &Bench, options: &str, expected: &[u8]) -> Result<Outcome> {
    let Host::Paravane(image) = &bench.host else { bail!("only Paravane has the thunk") };
    let thunk = symbols::of_image(image)?.address(THUNK).context("the image has no thunk")? - IMAGE_OFFSET;
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
    let mut machine = consoles::machine(bench, folder.path(), options, Vec::new())?;
    machine.arguments = [qemu::STAYS].iter().chain(&monitor::ARGUMENTS).map(ToString::to_string).collect();
    let mut running = machine.start()?;
    let mut monitor = Monitor::connect(folder.path()).with_context(|| running.messages())?;
    let deadline = Instant::now() + TIME;
    let mut log = String::new();
    while !log.contains(LAST) {
        match running.next(deadline)? {
            Event::Output(bytes) => log.push_str(&String::from_utf8_lossy(&bytes)),
            Event::Timeout => bail!("still on after {} s: {}", TIME.as_secs(), running.messages()),
            Event::Ended => bail!("the machine has ended: {}", running.messages()),
        }
    }
    let found = monitor.memory(thunk, expected.len() as u64)?;
    ensure!(found == expected, "the thunk is {found:02x?} instead of {expected:02x?}");
    Ok(Outcome::Success)
}
