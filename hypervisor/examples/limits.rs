//! Prints `docs/limits.md` from the table of limits.

use std::fmt::Write;

use hypervisor::tables::limits::{Row, sections};

const HEAD: &str = "\
# Limits

Generated from `hypervisor/src/limit_table.rs` by `cargo xtask check --fix`; don't edit.

All fixed limits of Paravane, with those of Xen 4.17 for comparison. Memory is allocated on use, not
in advance. If a domain's call is refused at a limit in **bold**, a log line names the limit, at
most once a minute per domain and limit: `d3 web: refused at a limit: event channels of a domain`.
";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    for section in sections() {
        let _ = write!(text, "\n## {}\n\n| limit | Paravane | Xen | at the limit |\n", section.title);
        text += "| --- | --- | --- | --- |\n";
        for Row { what, value, xen, at, logged } in section.rows {
            let mark = if logged { "**" } else { "" };
            let _ = writeln!(text, "| {mark}{what}{mark} | {value} | {xen} | {at} |");
        }
    }
    text
}

fn main() {
    print!("{}", document());
}
