//! The forms that boot gives to indirect branches and returns, read from the machine's memory.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Bench, Outcome, Report, Test, consoles};
use crate::artefacts::{returns, symbols};
use crate::foundation::workspace;
use crate::virtual_machine::host::Host;
use crate::virtual_machine::monitor::{self, Monitor};
use crate::virtual_machine::qemu;

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

/// First byte of a plain return, and of a jump to the thunk of returns.
const RETURN: u8 = 0xc3;
const JUMP_TO_THUNK: u8 = 0xe9;

/// A processor that ITS affects.
const AFFECTED: &str = "Icelake-Server";

struct Case {
    name: &'static str,
    /// The processor, if it matters.
    cpu: Option<&'static str>,
    options: &'static str,
    /// The start of the thunk of indirect branches.
    thunk: Vec<u8>,
    /// The first byte of each return.
    returns: u8,
}

fn cases() -> [Case; 4] {
    let retpoline = [&NO_OPERATION[..], &TO_RETPOLINE].concat();
    [
        Case {
            name: "indirect branches are plain jumps",
            cpu: None,
            options: "spec-ctrl=bti-thunk=jmp",
            thunk: JUMP.to_vec(),
            returns: RETURN,
        },
        Case {
            name: "indirect branches follow LFENCE",
            cpu: None,
            options: "spec-ctrl=bti-thunk=lfence",
            thunk: [NO_OPERATION, LFENCE, JUMP].concat(),
            returns: RETURN,
        },
        Case {
            name: "indirect branches are retpolines",
            cpu: None,
            options: "spec-ctrl=bti-thunk=retpoline",
            thunk: retpoline.clone(),
            returns: RETURN,
        },
        Case {
            name: "indirect branches and returns are aligned",
            cpu: Some(AFFECTED),
            options: "",
            thunk: retpoline,
            returns: JUMP_TO_THUNK,
        },
    ]
}

/// Runs all of them in order.
pub(super) fn run(test: &Test, bench: &Bench, report: &Report) {
    if !bench.host.is_paravane() {
        return;
    }
    for case in cases() {
        test.on_machine(report, case.name, || boot(bench, &case));
    }
}

fn boot(bench: &Bench, case: &Case) -> Result<Outcome> {
    let Host::Paravane(image) = &bench.host else { bail!("only Paravane has the thunk") };
    let thunk = symbols::of_image(image)?.address(THUNK).context("the image has no thunk")?;
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
    let mut machine = consoles::machine(bench, folder.path(), case.options, Vec::new())?;
    if let Some(cpu) = case.cpu {
        machine.cpu = cpu.into();
    }
    machine.arguments = [qemu::STAYS].iter().chain(&monitor::ARGUMENTS).map(ToString::to_string).collect();
    let mut running = machine.start()?;
    let mut monitor = Monitor::connect(folder.path()).with_context(|| running.messages())?;
    running.output(Some(LAST), TIME)?;
    let returns = returns::of_image(image)?;
    let [first, .., last] = returns.as_slice() else { bail!("the image has no returns") };
    let start = thunk.min(*first);
    let code = monitor.memory(start - IMAGE_OFFSET, last + 1 - start)?;
    let at = |address: u64| (address - start) as usize;
    let found = &code[at(thunk)..at(thunk) + case.thunk.len()];
    ensure!(found == case.thunk, "the thunk is {found:02x?} instead of {:02x?}", case.thunk);
    let differs = |address: &&u64| code[at(**address)] != case.returns;
    if let Some(address) = returns.iter().find(differs) {
        bail!("the return at {address:#x} begins with {:#x} instead of {:#x}", code[at(*address)], case.returns);
    }
    Ok(Outcome::Success)
}
