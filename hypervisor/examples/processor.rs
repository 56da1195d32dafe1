//! Prints `docs/processor.md` from the tables of registers and features that guests see.

use std::fmt::Write;

use hypervisor::tables::evidence::Evidence;
use hypervisor::tables::features::{Kind, WORDS};
use hypervisor::tables::msr::{self, Maker, TABLE_OF_MSRS, Value};
use hypervisor::tables::registers::{self, Bits, Sees};

const HEAD: &str = "\
# Processor registers and features of guests

Generated from the tables in `hypervisor/src/cpu_policy/` by `cargo xtask check --fix`; don't edit.

Each row states the value that a guest's kernel sees, the behaviour, and the test that verifies it:
a host test of `hypervisor/` or `machine/`, or a test guest and its function. Registers and features
without a row do not exist for guests: reading one is #GP, or zero in CPUID. Processes execute CPUID
themselves, so they may see more features than the kernel, as under Xen.
";

const RUNS: Evidence = Evidence::Guest("processor", "instructions");
const TELLS: Evidence = Evidence::Host("working_features_are_shown_and_all_others_are_hidden");

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    for (name, how, rows) in [
        (
            "CR0",
            "Accessed by `mov`, `clts` and `fpu_taskswitch`. A write that changes a bit other than TS is #GP.",
            registers::CONTROL0,
        ),
        (
            "CR4",
            "Accessed by `mov`. A write to a bit that the guest cannot choose is ignored. A bit can be chosen\nif CPUID reports its feature.",
            registers::CONTROL4,
        ),
        ("EFER", "An MSR. A write that would change it is #GP.", registers::EXTENDED_FEATURES),
        (
            "XCR0",
            "Written by XSETBV. A write to a bit that the guest cannot choose is #GP. A bit can be chosen if\nCPUID reports its state.",
            registers::EXTENDED_STATES,
        ),
    ] {
        text += &bits(name, how, rows);
    }
    text += "\nCR2 is the field of `vcpu_info`, CR3 the kernel's root table; accesses to CR1 and CR5 to CR15 fault\n(guest `privileged`: `cr2`, `cr4`).\n";
    text += "\n## Debug registers\n\n| register | contents | behaviour | test |\n| --- | --- | --- | --- |\n";
    for (register, what, done, test) in registers::DEBUG {
        let _ = writeln!(text, "| {register} | {what} | {done} | {} |", shown_by(*test));
    }
    text += "\n## MSRs\n\n| number | name | vendor | read | write | test |\n| --: | --- | --- | --- | --- | --- |\n";
    for row in TABLE_OF_MSRS {
        text += &msr(row);
    }
    text += "\nAll other MSRs are #GP, including FLUSH_CMD and those of machine checks, performance\n";
    let _ = writeln!(
        text,
        "counters, SYSENTER, SYSCALL, TSC_AUX, XSS and the x2APIC ({}).",
        shown_by(Evidence::Host("hidden_msrs_are_in_no_row"))
    );
    text += "\n## CPUID\n\nA bit is shown if the processor has it and the domain's configuration allows it.\n\n";
    text += "| leaf | register | bit | name | behaviour | test |\n| --: | --- | --: | --- | --- | --- |\n";
    for word in WORDS {
        for feature in word.features {
            let (done, test) = match feature.kind {
                Kind::Runs => ("its instructions run unmodified in ring 3", RUNS),
                Kind::Tells => ("describes behaviour of the processor that needs no emulation", TELLS),
                Kind::Done(done, test) => (done, test),
            };
            let (leaf, subleaf) = word.leaf;
            let leaf = if subleaf == 0 { format!("{leaf:#x}") } else { format!("{leaf:#x}.{subleaf}") };
            let (register, bit, name) = (word.register, feature.bit, feature.name);
            let _ = writeln!(text, "| {leaf} | {register} | {bit} | {name} | {done} | {} |", shown_by(test));
        }
    }
    text
}

/// All tests named in the document.
#[cfg_attr(not(test), expect(dead_code, reason = "used by a test"))]
pub(crate) fn evidence() -> Vec<Evidence> {
    let tables = [registers::CONTROL0, registers::CONTROL4, registers::EXTENDED_FEATURES, registers::EXTENDED_STATES];
    let mut all: Vec<Evidence> = tables.into_iter().flatten().map(|row| row.test).collect();
    all.extend(registers::DEBUG.iter().map(|row| row.3));
    all.extend(TABLE_OF_MSRS.iter().map(|row| row.test));
    all.extend(WORDS.iter().flat_map(|word| word.features).filter_map(|feature| match feature.kind {
        Kind::Done(_, test) => Some(test),
        _ => None,
    }));
    all.extend([RUNS, TELLS, Evidence::Host("hidden_msrs_are_in_no_row")]);
    all.extend(["cr2", "cr4"].map(|function| Evidence::Guest("privileged", function)));
    all
}

fn shown_by(test: Evidence) -> String {
    match test {
        Evidence::Host(name) => format!("`{name}`"),
        Evidence::Guest(guest, function) => format!("guest `{guest}`: `{function}`"),
    }
}

fn bits(name: &str, how: &str, rows: &[Bits]) -> String {
    let mut text = format!(
        "\n## {name}\n\n{how}\n\n| bits | name | value | behaviour | test |\n| --: | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let positions: Vec<String> =
            (0..64).filter(|bit| row.mask >> bit & 1 == 1).map(|bit: u32| bit.to_string()).collect();
        let sees = match row.sees {
            Sees::Set => "1",
            Sees::Clear => "0",
            Sees::Choice => "guest's choice",
        };
        let (positions, test) = (positions.join(", "), shown_by(row.test));
        let _ = writeln!(text, "| {positions} | {} | {sees} | {} | {test} |", row.name, row.done);
    }
    text
}

fn msr(row: &msr::Msr) -> String {
    let (first, last) = row.numbers;
    let numbers = if first == last { format!("{first:#x}") } else { format!("{first:#x} to {last:#x}") };
    let maker = match row.maker {
        Maker::Any => "all",
        Maker::Intel => "Intel",
        Maker::Amd => "AMD, Hygon",
    };
    let value = match row.value {
        Value::Constant(value) => format!("{value:#x}"),
        Value::Efer => "see EFER".into(),
        Value::ApicBase => "0xfee00800, and bit 8 for vCPU 0".into(),
        Value::Counter => "the counter".into(),
        Value::FsBase => "the FS base".into(),
        Value::GsBase => "the GS base of the kernel".into(),
        Value::UserGsBase => "the GS base of processes".into(),
        Value::SpeculationControl => "the value that the guest has set; #GP without any of its controls".into(),
        Value::Capabilities => "the policy's value; #GP without ARCH_CAPS".into(),
        Value::Nothing => "#GP".into(),
    };
    let write = match row.write {
        msr::Write::Refused => "#GP",
        msr::Write::Same => "#GP unless unchanged",
        msr::Write::Ignored => "ignored",
        msr::Write::Zero => "#GP unless zero",
        msr::Write::Controls => "sets the controls that CPUID reports; #GP for other bits",
        msr::Write::Barrier => "bit 0 discards branch predictions; #GP for other bits, and without IBPB",
        msr::Write::Base => "sets the base; #GP if not canonical",
    };
    format!("| {numbers} | {} | {maker} | {value} | {write} | {} |\n", row.name, shown_by(row.test))
}

fn main() {
    print!("{}", document());
}
