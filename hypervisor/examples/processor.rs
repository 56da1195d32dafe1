//! Prints `docs/processor.md` from the tables of what guests have of the processor.

use std::fmt::Write;

use hypervisor::tables::evidence::Evidence;
use hypervisor::tables::features::{Kind, WORDS};
use hypervisor::tables::msr::{self, Maker, TABLE_OF_MSRS, Value};
use hypervisor::tables::registers::{self, Bits, Sees};

const HEAD: &str = "\
# What guests have of the processor

Generated from the tables in `hypervisor/src/cpu_policy/` by `cargo xtask check --fix`; don't edit.

Each row says what a guest's kernel sees, what is done about it, and which test shows it: a host test of `hypervisor/` or
`machine/` by its name, or a test guest and its function. What is in no row does not exist for a guest: a read of it is #GP, or
zero in CPUID. Processes execute CPUID themselves, so they may see more than the kernel is told, as under Xen.
";

const RUNS: Evidence = Evidence::Guest("processor", "instructions");
const TELLS: Evidence = Evidence::Host("what_works_is_shown_and_the_rest_is_hidden");

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    for (name, how, rows) in [
        (
            "CR0",
            "Read and written by `mov`, `clts` and `fpu_taskswitch`. A write that would change another bit than TS is #GP.",
            registers::CONTROL0,
        ),
        (
            "CR4",
            "Read and written by `mov`. A write of a bit that is no choice is ignored; a choice is there if CPUID tells of its feature.",
            registers::CONTROL4,
        ),
        ("EFER", "An MSR. A write that would change it is #GP.", registers::EXTENDED_FEATURES),
        (
            "XCR0",
            "Written by XSETBV. A write of a bit that is no choice is #GP; a choice is there if CPUID tells of its state.",
            registers::EXTENDED_STATES,
        ),
    ] {
        text += &bits(name, how, rows);
    }
    text += "\nCR2 is the field of `vcpu_info`, CR3 the kernel's root table; CR1 and CR5 to CR15 fault (guest `privileged`: `cr2`, `cr4`).\n";
    text += "\n## Debug registers\n\n| register | what it is | what is done | test |\n| --- | --- | --- | --- |\n";
    for (register, what, done, test) in registers::DEBUG {
        let _ = writeln!(text, "| {register} | {what} | {done} | {} |", shown_by(*test));
    }
    text +=
        "\n## MSRs\n\n| number | name | where | reads as | a write | test |\n| --: | --- | --- | --- | --- | --- |\n";
    for row in TABLE_OF_MSRS {
        text += &msr(row);
    }
    text += "\nAll other MSRs are #GP, among them those of speculation control, machine checks, performance counters, SYSENTER, SYSCALL,\n";
    let _ = writeln!(text, "TSC_AUX, XSS and the x2APIC ({}).", shown_by(Evidence::Host("hidden_msrs_are_in_no_row")));
    text += "\n## CPUID\n\nA bit is shown if the processor has it. Which of them a domain has beyond that is its configuration's choice.\n\n";
    text += "| leaf | register | bit | name | what is done | test |\n| --: | --- | --: | --- | --- | --- |\n";
    for word in WORDS {
        for feature in word.features {
            let (done, test) = match feature.kind {
                Kind::Runs => ("its instructions run in ring 3 as they are", RUNS),
                Kind::Tells => ("tells what the processor does by itself", TELLS),
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

/// All tests that the document names.
#[cfg_attr(not(test), expect(dead_code, reason = "a test asks"))]
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
        "\n## {name}\n\n{how}\n\n| bits | name | a guest sees | what is done | test |\n| --: | --- | --- | --- | --- |\n"
    );
    for row in rows {
        let positions: Vec<String> =
            (0..64).filter(|bit| row.mask >> bit & 1 == 1).map(|bit: u32| bit.to_string()).collect();
        let sees = match row.sees {
            Sees::Set => "1",
            Sees::Clear => "0",
            Sees::Choice => "its choice",
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
    };
    let write = match row.write {
        msr::Write::Refused => "#GP",
        msr::Write::Same => "#GP unless it changes nothing",
        msr::Write::Ignored => "ignored",
        msr::Write::Zero => "#GP unless zero",
        msr::Write::Base => "sets it; #GP if not canonical",
    };
    format!("| {numbers} | {} | {maker} | {value} | {write} | {} |\n", row.name, shown_by(row.test))
}

fn main() {
    print!("{}", document());
}
