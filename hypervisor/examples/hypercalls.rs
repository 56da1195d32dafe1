//! Prints `docs/hypercalls.md` from the table of hypercalls.

use std::fmt::Write;

use hypervisor::tables::hypercalls::{Privilege, ROWS, Row};

const HEAD: &str = "\
# Hypercalls

Generated from `hypervisor/src/hypercall/table/mod.rs` by `cargo xtask check --fix`; don't edit.

*Any*: every domain, for itself. *Own*: every domain for itself, the initial domain for others too. *Control*: the
initial domain; others get `-EPERM`. Long work of a *preemptible* call is done in pieces: the guest executes the call
again until it is done. `iret` (23) is answered by the entry code and `trap/iret.rs`. Every other number is `-ENOSYS`.
An operation that is ~~struck out~~ exists in the interface and is refused with `-ENOSYS` or `-EOPNOTSUPP`.

";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    text += "| number | name | who | preemptible | what it does |\n| --: | --- | --- | --- | --- |\n";
    for row in ROWS {
        let who = match row.privilege {
            Privilege::Any => "any",
            Privilege::OwnOrControl => "own",
            Privilege::Control => "control",
        };
        let preemptible = if row.preemptible { "yes" } else { "" };
        let _ = writeln!(text, "| {} | `{}` | {who} | {preemptible} | {} |", row.number, row.name, row.summary);
    }
    ROWS.iter().filter(|row| !row.operations.is_empty()).for_each(|row| text += &operations(row));
    text
}

fn operations(row: &Row) -> String {
    let mut text = format!("\n## {}\n\n| number | operation |\n| --: | --- |\n", row.name);
    let mut sorted = row.operations.to_vec();
    sorted.sort_by_key(|operation| operation.1);
    for (name, number) in sorted {
        let mark = if row.refused.contains(&number) { "~~" } else { "" };
        let _ = writeln!(text, "| {number} | {mark}`{name}`{mark} |");
    }
    text
}

fn main() {
    print!("{}", document());
}
