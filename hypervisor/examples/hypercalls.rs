//! Prints `docs/hypercalls.md` from the table of hypercalls.

use std::fmt::Write;

use hypervisor::tables::hypercalls::{Operation, Privilege, ROWS, Row};

const HEAD: &str = "\
# Hypercalls

Generated from `hypervisor/src/hypercall/table/mod.rs` by `cargo xtask check --fix`; don't edit.

The *privilege* of a call or operation states which domains may use it. *Any*: every domain, for
itself. *Own*: every domain for itself, the control domain for others too. *Control*: the control
domain; others get `-EPERM`. *Hardware*: the domain that has the machine's devices; others get
`-EPERM`.

A *preemptible* call is divided into steps: the guest restarts it until it is complete. `iret` (23)
is handled by the entry code and `trap/iret.rs`. Every other number is `-ENOSYS`. An operation that
is ~~struck out~~ exists in the public headers and is refused for every caller with the given error.

";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    text += "| number | name | privilege | preemptible | operation |\n| --: | --- | --- | --- | --- |\n";
    for row in ROWS {
        let privilege = name_of(row.privilege);
        let preemptible = if row.preemptible { "yes" } else { "" };
        let _ = writeln!(text, "| {} | `{}` | {privilege} | {preemptible} | {} |", row.number, row.name, row.summary);
    }
    ROWS.iter().filter(|row| !row.operations.is_empty()).for_each(|row| text += &operations(row));
    text
}

const fn name_of(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Any => "any",
        Privilege::OwnOrControl => "own",
        Privilege::Control => "control",
        Privilege::Hardware => "hardware",
    }
}

fn operations(row: &Row) -> String {
    let mut text = format!("\n## {}\n\n| number | operation | privilege |\n| --: | --- | --- |\n", row.name);
    let mut sorted = row.operations.to_vec();
    sorted.sort_by_key(|operation| operation.number);
    for Operation { number, name, privilege, refusal } in sorted {
        let _ = match refusal {
            Some(errno) => writeln!(text, "| {number} | ~~`{name}`~~ | `-{errno:?}` |"),
            None => writeln!(text, "| {number} | `{name}` | {} |", name_of(privilege.unwrap_or(row.privilege))),
        };
    }
    text
}

fn main() {
    print!("{}", document());
}
