//! Prints `docs/limits.md` from the table of limits.

use std::fmt::Write;

use hypervisor::tables::limits::{Row, sections};

const HEAD: &str = "\
# Limits

Generated from `hypervisor/src/limit_table.rs` by `cargo xtask check --fix`; don't edit.

All fixed limits of Paravane, beside those of Xen 4.17. Memory for what they allow is taken as it is used. A call of a domain
that is refused at one of those in **bold** leaves a line in the log that names the limit, once a minute for each domain and limit:
`d3 web: refused at a limit: event channels of a domain`.
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
