//! Microcode in an early archive: boots whose log says what has become of it. QEMU's processors
//! ignore updates, so they refuse each but one of their own revision.

use std::fs;
use std::time::Duration;

use anyhow::Result;
use microcode::samples::{Sample, archive};
use microcode::{Maker, Processor};

use super::consoles::machine;
use super::{Bench, Outcome, Report, Test};
use crate::foundation::workspace;
use crate::virtual_machine::qemu::Module;

/// A boot without guests, from power-on to power-off.
const TIME: Duration = Duration::from_secs(60);

/// QEMU's processors, and the revisions that they have under TCG and KVM.
const HASWELL: Processor = Processor { maker: Maker::Intel, signature: 0x306c4, platform: 1, revision: 1 };
const EPYC: Processor = Processor { maker: Maker::Amd, signature: 0x80_0f12, platform: 0, revision: 0x0100_0065 };

/// Without the bit that reveals a hypervisor. QEMU's emulation cannot run guests with SMAP, which
/// is used without that bit.
const HIDDEN: &str = "-hypervisor,-smap";

struct Case {
    name: &'static str,
    cpu: String,
    options: &'static str,
    /// The second boot module.
    module: Vec<u8>,
    line: String,
}

fn cases() -> [Case; 6] {
    let file = |processor: &Processor, revision| {
        let sample = Sample::new(processor, revision);
        archive(processor.maker, &sample.file(processor.maker))
    };
    let hidden = |model: &str| format!("{model},{HIDDEN}");
    let ignored = |processor: &Processor| {
        let (offered, revision) = (processor.revision + 1, processor.revision);
        format!(
            "error: microcode: the processor refuses revision {offered:#x} from boot module 1: its revision is {revision:#x}"
        )
    };
    let mut damaged = Sample::new(&HASWELL, 2).file(Maker::Intel);
    damaged[200] ^= 1;
    [
        Case {
            name: "microcode of Intel is offered to the processor",
            cpu: hidden("Haswell"),
            options: "",
            module: file(&HASWELL, 2),
            line: ignored(&HASWELL),
        },
        Case {
            name: "microcode of AMD is offered to the processor",
            cpu: hidden("EPYC"),
            options: "",
            module: file(&EPYC, EPYC.revision + 1),
            line: ignored(&EPYC),
        },
        Case {
            name: "microcode of the same revision is loaded if that is wanted",
            cpu: hidden("Haswell"),
            options: "ucode=allow-same",
            module: file(&HASWELL, 1),
            line: "microcode: revision 0x1 of 1998-07-18 from boot module 1, after 0x1".into(),
        },
        Case {
            name: "microcode that is damaged is refused",
            cpu: hidden("Haswell"),
            options: "",
            module: archive(Maker::Intel, &damaged),
            line: "warning: microcode: boot module 1 is refused: it is damaged: the checksum of an update is wrong"
                .into(),
        },
        Case {
            name: "microcode for another processor is refused",
            cpu: hidden("Haswell"),
            options: "",
            module: file(&Processor { signature: 0x306c3, ..HASWELL }, 2),
            line: "warning: microcode: boot module 1 is refused: it is for other processors".into(),
        },
        Case {
            name: "microcode is not loaded in a virtual machine",
            cpu: "Haswell".into(),
            options: "",
            module: file(&HASWELL, 2),
            line: "microcode: boot module 1 is not loaded: an outer hypervisor is responsible for the microcode".into(),
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

/// Boots with a first module that is no kernel, so the machine powers off.
fn boot(bench: &Bench, case: &Case) -> Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("machine").tempdir_in(workspace::made(workspace::target())?)?;
    fs::write(folder.path().join("kernel"), "no kernel")?;
    fs::write(folder.path().join("ramdisk"), &case.module)?;
    let modules = ["kernel", "ramdisk"].map(|file| Module { file: file.into(), arguments: String::new() });
    let mut machine = machine(bench, folder.path(), case.options, modules.into())?;
    machine.cpu.clone_from(&case.cpu);
    let mut running = machine.start()?;
    let log = running.output(None, TIME)?;
    for wanted in [case.line.as_str(), "error: no guest could be started; powering off"] {
        if !log.lines().any(|line| line.trim_end() == format!("(pv) {wanted}")) {
            return Ok(Outcome::Failure(format!("no line \"{wanted}\" in: {log}")));
        }
    }
    Ok(Outcome::Success)
}
