//! Prints `docs/hypercalls.md` from the table of hypercalls.

use std::fmt::Write;

use hypervisor::tables::hypercalls::{Operation, Privilege, ROWS, Row};

const HEAD: &str = "\
# Hypercalls

Generated from `hypervisor/src/hypercall/table/mod.rs` by `cargo xtask check --fix`; don't edit.

Who may make a call, or use one of its operations: *any* domain for itself; *own*: any domain for itself, the control
domain for others too; *control*: the control domain, others get `-EPERM`; *hardware*: the domain that has the
machine's devices, others get `-EPERM`. Long work of a *preemptible* call is done in pieces: the guest executes the call
again until it is done. `iret` (23) is handled by the entry code and `trap/iret.rs`. Every other number is `-ENOSYS`.
An operation that is ~~struck out~~ exists in the public headers and is refused to every caller with the error beside
it.

";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    text += "| number | name | who | preemptible | what it does |\n| --: | --- | --- | --- | --- |\n";
    for row in ROWS {
        let who = who(row.privilege);
        let preemptible = if row.preemptible { "yes" } else { "" };
        let _ = writeln!(text, "| {} | `{}` | {who} | {preemptible} | {} |", row.number, row.name, row.summary);
    }
    ROWS.iter().filter(|row| !row.operations.is_empty()).for_each(|row| text += &operations(row));
    text
}

const fn who(privilege: Privilege) -> &'static str {
    match privilege {
        Privilege::Any => "any",
        Privilege::OwnOrControl => "own",
        Privilege::Control => "control",
        Privilege::Hardware => "hardware",
    }
}

fn operations(row: &Row) -> String {
    let mut text = format!("\n## {}\n\n| number | operation | who |\n| --: | --- | --- |\n", row.name);
    let mut sorted = row.operations.to_vec();
    sorted.sort_by_key(|operation| operation.number);
    for Operation { number, name, privilege, refusal } in sorted {
        let _ = match refusal {
            Some(errno) => writeln!(text, "| {number} | ~~`{name}`~~ | `-{errno:?}` |"),
            None => writeln!(text, "| {number} | `{name}` | {} |", who(privilege.unwrap_or(row.privilege))),
        };
    }
    text
}

fn main() {
    print!("{}", document());
}
