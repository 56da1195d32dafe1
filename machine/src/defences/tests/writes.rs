//! The bits of MSRs that each CPU gets, on real processors.

use core::cell::Cell;

use super::*;
use crate::processor::msr;

/// Name, MSR, bits set, bits cleared.
type Expected = (&'static str, u32, u64, u64);

fn list(facts: &Facts, options: &str) -> Vec<Expected> {
    let plan = plan(facts, &Options::parse(options).defences);
    writes(&plan, facts).map(|write| (write.name, write.msr, write.set, write.clear)).collect()
}

/// The facts of a row of the table.
fn row(name: &str) -> &'static Facts {
    let rows = [intel::ROWS, amd::ROWS, virtual_machines::ROWS].into_iter().flatten();
    &rows.into_iter().find(|row| row.name == name).expect(name).facts
}

const GATHER_ON: Expected = ("GDS control", 0x123, 0, 0x10);
const LOCKED: Expected = ("locked random numbers", 0x123, 0, 1);
const NOT_LOCKED: Expected = ("random numbers not locked", 0x123, 1, 0);
const LFENCE: Expected = ("LFENCE", 0xc001_1029, 2, 0);
const AUTOMATIC: Expected = ("automatic IBRS", 0xc000_0080, 0x20_0000, 0);

const fn spec_ctrl(set: u64) -> Expected {
    ("SPEC_CTRL", 0x48, set, 0x487 & !set)
}

#[test]
fn processors_get_the_expected_bits() {
    assert_eq!(list(&processor(Vendor::Intel, 6, 0x3c, 3), ""), [], "Haswell without microcode");
    for (name, expected) in [
        ("QEMU -cpu Haswell, emulated", &[][..]),
        ("Haswell, microcode 0x28", &[LOCKED, spec_ctrl(0)]),
        // The entry code takes IBRS and STIBP away while guests run.
        ("Skylake, microcode 0xf0", &[GATHER_ON, LOCKED, spec_ctrl(3)]),
        ("Skylake with the firmware of 2015", &[]),
        ("Cascade Lake", &[("TSX off", 0x122, 3, 0), GATHER_ON, spec_ctrl(3)]),
        // Microcode makes transactions abort, so only CPUID is left to do.
        ("Coffee Lake Refresh, stepping R0", &[("TSX off", 0x122, 2, 0), GATHER_ON, NOT_LOCKED, spec_ctrl(3)]),
        ("Comet Lake", &[GATHER_ON, NOT_LOCKED, spec_ctrl(3)]),
        ("Ice Lake-SP, microcode 0xd0003b9", &[GATHER_ON, spec_ctrl(3)]),
        ("Sapphire Rapids", &[spec_ctrl(0x403)]),
        ("Raptor Lake, without that microcode", &[spec_ctrl(0x403)]),
        ("Silvermont (Bay Trail)", &[spec_ctrl(0)]),
        ("Jaguar", &[LFENCE, ("793", 0xc001_1020, 0x8000, 0)]),
        ("Zen (EPYC 7601)", &[LFENCE]),
        ("Zen 2 (EPYC 7742), with a fix of Zenbleed", &[LFENCE, spec_ctrl(2)]),
        ("Zen 2 (Ryzen 3700X), without", &[LFENCE, ("Zenbleed", 0xc001_1029, 0x200, 0), spec_ctrl(2)]),
        ("Zen 3 (EPYC 7763)", &[spec_ctrl(2)]),
        ("Zen 4 (EPYC 9654)", &[("1485", 0xc001_102e, 0x20, 0), AUTOMATIC, spec_ctrl(2)]),
        ("Zen 5 (EPYC 9755)", &[AUTOMATIC, spec_ctrl(2)]),
        ("a cloud machine on Zen 3 with the first controls only", &[spec_ctrl(2)]),
    ] {
        assert_eq!(list(row(name), ""), expected, "{name}");
    }
}

#[test]
fn options_change_the_bits() {
    const TSX: [u32; 3] = [msr::TSX_CTRL, msr::TSX_FORCE_ABORT, msr::MCU_OPT_CTRL];
    let of = |name, options, registers: &[u32]| {
        let mut all = list(row(name), options);
        all.retain(|write| registers.contains(&write.1) && write.0.contains("TSX"));
        all
    };
    let (server, client, refresh) = ("Skylake-SP", "Skylake, microcode 0xf0", "Coffee Lake Refresh, stepping R0");
    assert_eq!(of(server, "tsx=0", &TSX), [("TSX off", 0x10f, 1, 4)]);
    assert_eq!(of(server, "tsx=1", &TSX), [("TSX on", 0x10f, 0, 1)]);
    assert_eq!(of(client, "tsx=0", &TSX), [("TSX off", 0x10f, 2, 4)]);
    assert_eq!(of(client, "tsx=1", &TSX), [("TSX on", 0x10f, 4, 2)]);
    assert_eq!(of(refresh, "tsx=1", &TSX), [("TSX allowed", 0x123, 2, 0), ("TSX on", 0x122, 0, 3)]);
    let locked = Facts { mcu_opt_ctrl: Some(4), ..*row(refresh) };
    assert!(!list(&locked, "tsx=1").iter().any(|write| write.0 == "TSX allowed"));

    let of = |name, options| list(row(name), options).pop();
    assert_eq!(of("Sapphire Rapids", "spec-ctrl=no"), Some(spec_ctrl(0)), "what the firmware has set is cleared");
    assert_eq!(of("Sapphire Rapids", "spec-ctrl=no-bhi-dis-s"), Some(spec_ctrl(3)));
    assert_eq!(of("Zen 3 (EPYC 7763)", "spec-ctrl=ssbd"), Some(spec_ctrl(0x86)));
    assert_eq!(of("Zen 3 (EPYC 7763)", "spec-ctrl=ssbd,no-psfd"), Some(spec_ctrl(6)));
    assert_eq!(of("Haswell, microcode 0x28", "spec-ctrl=stibp"), Some(spec_ctrl(2)));
    let zen_2 = "Zen 2 (EPYC 7742), with a fix of Zenbleed";
    assert_eq!(of(zen_2, "spec-ctrl=ibrs"), Some(spec_ctrl(3)), "IBRS and STIBP at each entry");
    assert_eq!(list(row(zen_2), "spec-ctrl=no"), [LFENCE, spec_ctrl(0)], "corrections are no defences");
    let off = list(row("Cascade Lake"), "spec-ctrl=no-gds-mit");
    assert!(off.contains(&("GDS control off", 0x123, 0x10, 0)), "{off:?}");
}

#[test]
fn a_change_that_the_processor_does_not_accept_is_noticed() {
    let write = writes(&plan(row("Zen 5 (EPYC 9755)"), &Choices::DEFAULT), row("Zen 5 (EPYC 9755)"));
    let change = write.last().unwrap();
    let register = Cell::new(0x401);
    let read = |number| (number == msr::SPEC_CTRL).then(|| register.get());
    assert!(!change.make(|_| None, |_, _| panic!("the register does not exist")));
    assert!(!change.make(read, |_, _| false), "the write faults");
    assert!(!change.make(read, |_, _| true), "the write is ignored");
    let accept = |_, value| {
        register.set(value);
        true
    };
    assert!(change.make(read, accept));
    assert_eq!(register.get(), 2);
    assert!(change.make(read, |_, _| panic!("the register has the bits")));
}

#[test]
fn a_refused_change_is_in_the_report() {
    let of = |report: &Report, flaw| *report.findings.iter().find(|finding| finding.flaw == flaw).unwrap();
    let facts = row("Coffee Lake Refresh, stepping R0");
    let mut report = Report::new(*facts, Choices::DEFAULT);
    assert_eq!(of(&report, Flaw::Taa).state(), State::Defended);
    assert_eq!(of(&report, Flaw::Gds).state(), State::Defended);
    report.refuse(Measures::of(&[Measure::TsxOff]));
    assert_eq!(of(&report, Flaw::Gds).state(), State::Defended);
    let line = of(&report, Flaw::Taa).line(&report.plan).to_string();
    assert_eq!(line, "TSX asynchronous abort: vulnerable (TSX without TAA_NO); left: MSR not accepted");
    let json = report.json().to_string();
    assert!(json.contains(r#"{"name":"tsx-off","in_force":false}],"left":["msr-not-accepted"]"#), "{json}");
}

#[test]
fn ibrs_is_not_switched_at_entry_where_the_processor_does_not_accept_it() {
    let mut report = Report::new(*row("Skylake, microcode 0xf0"), Choices::DEFAULT);
    assert_eq!((report.guest_spec_ctrl().at_entry, report.guest_spec_ctrl().required), (true, 0));
    report.refuse(Measures::of(&[Measure::Ibrs, Measure::Stibp]));
    assert!(!report.guest_spec_ctrl().at_entry);
}

#[test]
fn the_report_distinguishes_what_is_set_once_from_what_is_set_at_entry() {
    let line = |name, flaw| {
        let facts = row(name);
        let plan = plan(facts, &Choices::DEFAULT);
        let found = findings(facts, &Choices::DEFAULT, &plan);
        found.iter().find(|finding| finding.flaw == flaw).unwrap().line(&plan).to_string()
    };
    let spectre = line("Zen 5 (EPYC 9755)", Flaw::SpectreV2);
    assert!(spectre.contains(": automatic IBRS, ") && spectre.contains("STIBP"), "{spectre}");
    let legacy = line("Skylake, microcode 0xf0", Flaw::SpectreV2);
    assert!(legacy.contains("IBRS at entry"), "{legacy}");
    assert!(line("Sapphire Rapids", Flaw::Bhi).ends_with(": BHI_DIS_S"));
    let cleared = line("Cascade Lake", Flaw::Bhi);
    assert!(cleared.contains(": history cleared at entry"), "{cleared}");
}
