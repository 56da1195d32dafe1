//! Simulated processors: which CPUs load an update, which refuse it, and what the log says.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::vec::Vec;
use std::{format, thread};

use microcode::samples::{Sample, archive};
use microcode::{Error, Maker, Processor};

use super::early::{load_at_start, report};
use super::*;
use crate::boot::options::{Microcode, MicrocodeSource, Options};
use crate::console::backend::take_output;

const INTEL: Processor = Processor { maker: Maker::Intel, signature: 0x306c4, platform: 2, revision: 5 };
const AMD: Processor = Processor { maker: Maker::Amd, signature: 0x80_0f12, platform: 0, revision: 5 };

fn machine(processor: Processor, threads: usize, refusing: Option<(CpuId, Refusal)>) {
    crate::hosted::start(1024);
    simulate(Simulated { processor: Ok(processor), threads, refusing });
    assert!(!boot(&[], &options("")));
    drop(take_output());
}

fn options(line: &str) -> Microcode {
    Options::parse(line).microcode
}

fn file(processor: &Processor, revision: u32) -> Vec<u8> {
    Sample::new(processor, revision).file(processor.maker)
}

fn cpu(number: u32) -> CpuId {
    CpuId::new(number).expect("a small number")
}

fn numbers(cpus: &[CpuId]) -> Vec<u32> {
    cpus.iter().map(|cpu| cpu.number()).collect()
}

/// The lines about microcode in the log since the last call.
fn lines() -> Vec<std::string::String> {
    let text = std::string::String::from_utf8_lossy(&take_output()).into_owned();
    text.lines().filter_map(|line| Some(line.split_once("microcode: ")?.1.into())).collect()
}

/// Starts CPUs 1 to `count`, one after another, and runs `act` while they wait for work.
fn with_cpus<R>(count: u32, act: impl FnOnce() -> R) -> R {
    per_cpu::current();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..count {
            let (tell, told) = mpsc::channel();
            let over = &over;
            scope.spawn(move || {
                per_cpu::current();
                load_at_start();
                tell.send(()).expect("the test waits");
                while !over.load(Ordering::SeqCst) {
                    crate::tlb::serve();
                }
            });
            told.recv().expect("the CPU has started");
        }
        let result = act();
        over.store(true, Ordering::SeqCst);
        result
    })
}

fn revisions() -> Vec<u32> {
    per_cpu::all_online().map(revision).collect()
}

mod early {
    use super::*;

    fn start(processor: Processor, threads: usize, refusing: Option<(CpuId, Refusal)>) {
        crate::hosted::start(1024);
        simulate(Simulated { processor: Ok(processor), threads, refusing });
        drop(take_output());
    }

    #[test]
    fn one_thread_of_each_core_of_intels_loads_the_update() {
        start(INTEL, 2, None);
        let ramdisk = archive(Maker::Intel, &file(&INTEL, 7));
        assert!(boot(&[b"kernel", &ramdisk], &options("")));
        assert_eq!(lines(), ["revision 0x7 of 1998-07-18 from boot module 1, after 0x5"]);
        with_cpus(3, || {
            assert_eq!(numbers(&loads()), [0, 2]);
            assert_eq!(revisions(), [7; 4]);
            report();
        });
        assert!(lines().is_empty());
    }

    #[test]
    fn every_thread_of_amds_loads_the_update() {
        start(AMD, 2, None);
        let ramdisk = archive(Maker::Amd, &file(&AMD, 7));
        assert!(boot(&[b"kernel", &archive(Maker::Intel, b""), &ramdisk], &options("")));
        assert_eq!(lines(), ["revision 0x7 of 1998-07-18 from boot module 2, after 0x5"]);
        with_cpus(3, || assert_eq!(numbers(&loads()), [0, 1, 2, 3]));
    }

    #[test]
    fn an_update_may_be_a_module_of_its_own() {
        start(INTEL, 1, None);
        let modules = [&b"kernel"[..], b"ramdisk", &file(&INTEL, 7)];
        assert!(boot(&modules, &options("ucode=-1")));
        assert_eq!(lines(), ["revision 0x7 of 1998-07-18 from boot module 2, after 0x5"]);
    }

    #[test]
    fn other_cpus_do_not_try_an_update_that_faults() {
        start(INTEL, 1, Some((CpuId::BOOT, Refusal::Fault)));
        assert!(!boot(&[b"kernel", &archive(Maker::Intel, &file(&INTEL, 7))], &options("")));
        let line = "the processor refuses revision 0x7 from boot module 1: general protection fault";
        assert_eq!(lines(), [line]);
        with_cpus(1, || assert_eq!((numbers(&loads()), revisions()), ([0].into(), [5; 2].into())));
    }

    #[test]
    fn a_cpu_that_does_not_take_it_is_reported() {
        start(INTEL, 1, Some((cpu(1), Refusal::Revision(5))));
        assert!(boot(&[b"kernel", &archive(Maker::Intel, &file(&INTEL, 7))], &options("")));
        drop(take_output());
        with_cpus(2, report);
        assert_eq!(lines(), ["CPU 1 has revision 0x5 instead of 0x7"]);
    }

    /// The line that is logged for these modules; nothing is loaded.
    fn refused(processor: Result<Processor, Unavailable>, modules: &[&[u8]], line: &str) -> std::string::String {
        crate::hosted::start(1024);
        simulate(Simulated { processor, threads: 1, refusing: None });
        drop(take_output());
        assert!(!boot(modules, &options(line)));
        assert!(loads().is_empty());
        let lines = lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.concat()
    }

    #[test]
    fn an_older_update_is_not_loaded() {
        let said = refused(Ok(INTEL), &[b"kernel", &archive(Maker::Intel, &file(&INTEL, 5))], "");
        assert_eq!(said, "boot module 1 is not loaded: its revision 0x5 is not newer than 0x5");
    }

    #[test]
    fn a_damaged_update_is_refused() {
        let mut damaged = file(&INTEL, 7);
        damaged[100] ^= 1;
        let said = refused(Ok(INTEL), &[b"kernel", &archive(Maker::Intel, &damaged)], "");
        assert_eq!(said, "boot module 1 is refused: it is damaged: the checksum of an update is wrong");
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let whole = archive(Maker::Intel, &file(&INTEL, 7));
        let said = refused(Ok(INTEL), &[b"kernel", &whole[..1000]], "");
        assert_eq!(said, "boot module 1 is refused: it is damaged: the archive is truncated");
    }

    #[test]
    fn an_update_for_another_processor_is_refused() {
        let other = Processor { signature: 0x306c3, ..INTEL };
        let said = refused(Ok(INTEL), &[b"kernel", &archive(Maker::Intel, &file(&other, 7))], "");
        assert_eq!(said, "boot module 1 is refused: it is for other processors");
    }

    #[test]
    fn a_module_of_its_own_has_to_be_one() {
        let said = refused(Ok(INTEL), &[b"kernel", b"ramdisk"], "ucode=1");
        assert_eq!(said, "boot module 1 is refused: it is not microcode of this processor's maker");
    }

    #[test]
    fn under_an_outer_hypervisor_none_is_loaded() {
        let modules = [&b"kernel"[..], &archive(Maker::Intel, &file(&INTEL, 7))];
        let said = refused(Err(Unavailable::OuterHypervisor), &modules, "");
        assert_eq!(said, "boot module 1 is not loaded: an outer hypervisor is responsible for the microcode");
    }

    #[test]
    fn without_an_update_the_revision_is_shown() {
        let modules = [&b"kernel"[..], &archive(Maker::Intel, &file(&INTEL, 7))];
        assert_eq!(refused(Ok(INTEL), &modules, "ucode=no-scan"), "revision 0x5, no update in the boot modules");
    }

    #[test]
    fn a_module_that_does_not_exist_is_reported() {
        crate::hosted::start(1024);
        simulate(Simulated { processor: Ok(INTEL), threads: 1, refusing: None });
        drop(take_output());
        assert!(!boot(&[b"kernel"], &Microcode { source: MicrocodeSource::Module(3), same: false }));
        assert_eq!(lines()[0], "there is no boot module 3 for it");
    }
}

fn load(processor: &Processor, revision: u32) -> Result<Loaded, NotLoaded> {
    load_everywhere(&file(processor, revision), || ())
}

#[test]
fn a_late_update_is_loaded_by_one_thread_of_each_core() {
    machine(INTEL, 2, None);
    with_cpus(5, || {
        let loaded = load(&INTEL, 9).expect("newer");
        assert_eq!(format!("{loaded}"), "revision 0x9 of 1998-07-18 on all pCPUs, after 0x5");
        assert_eq!(numbers(&loads()), [0, 2, 4]);
        assert_eq!(revisions(), [9; 6]);
        let error = Error::NotNewer { offered: 9, current: 9 };
        assert_eq!(load(&INTEL, 9), Err(NotLoaded::File(error)));
        assert_eq!(numbers(&loads()), [0, 2, 4]);
    });
}

#[test]
fn a_late_update_is_loaded_by_every_thread_of_amds() {
    machine(AMD, 2, None);
    with_cpus(3, || {
        assert!(load(&AMD, 9).is_ok());
        assert_eq!(numbers(&loads()), [0, 1, 2, 3]);
        assert_eq!(revisions(), [9; 4]);
    });
}

#[test]
fn no_other_cpu_tries_an_update_that_the_first_has_refused() {
    machine(INTEL, 1, Some((CpuId::BOOT, Refusal::Fault)));
    with_cpus(2, || {
        assert_eq!(load(&INTEL, 9), Err(NotLoaded::Refused(CpuId::BOOT, Refusal::Fault)));
        assert_eq!((numbers(&loads()), revisions()), ([0].into(), [5; 3].into()));
    });
}

#[test]
fn cpus_that_have_not_taken_an_update_can_get_it_later() {
    machine(INTEL, 1, Some((cpu(1), Refusal::Revision(5))));
    with_cpus(2, || {
        let refused = load(&INTEL, 9).expect_err("CPU 1 refuses it");
        assert_eq!(refused, NotLoaded::Partial(cpu(1), Refusal::Revision(5)));
        assert!(format!("{refused}").ends_with("restart the host"));
        assert_eq!(revisions(), [9, 5, 9]);
        assert_eq!(load(&INTEL, 9), Err(refused), "the update is newer for CPU 1");
        assert_eq!(numbers(&loads()), [0, 1, 2, 1]);
    });
}

#[test]
fn files_and_machines_without_an_update_are_told_apart() {
    machine(INTEL, 1, None);
    let refused = |file: &[u8]| load_everywhere(file, || ()).err();
    assert_eq!(refused(b"nothing"), Some(NotLoaded::File(Error::Unknown)));
    assert_eq!(refused(&file(&Processor { signature: 1, ..INTEL }, 9)), Some(NotLoaded::File(Error::OtherProcessor)));
    let late = Sample { minimum: 6, ..Sample::new(&INTEL, 9) }.file(Maker::Intel);
    assert_eq!(refused(&late), Some(NotLoaded::File(Error::OnlyEarly { minimum: 6 })));
    simulate(Simulated { processor: Err(Unavailable::OuterHypervisor), threads: 1, refusing: None });
    assert_eq!(refused(&late), Some(NotLoaded::Unavailable(Unavailable::OuterHypervisor)));
    assert!(loads().is_empty());
}
