//! Prints `docs/options.md` from the table of options.

use std::fmt::Write;

use machine::boot::options::{Effect, Row, TABLE};

const HEAD: &str = "\
# Options

Generated from `machine/src/boot/options/table.rs` by `cargo xtask check --fix`; don't edit.

These options are on Paravane's own command line, separated by blanks. Names and syntax are Xen's,
so the options of a boot entry for Xen can be kept. The options of a kernel are the arguments of its
module. Words after ` -- ` on Paravane's line are appended to the command line of the initial
domain's kernel. [boot.md](boot.md) describes the options of guests that are started from modules.

- Hyphens and underscores in a name are equivalent. If an option occurs several times, the last one
  is used, except for `dom0_mem`.
- `BOOL` is `yes`, `on`, `true`, `enable` or `1`, or `no`, `off`, `false`, `disable` or `0`. The
  bare name is `yes`; the name with the prefix `no-` is `no`.
- `NUMBER` is decimal, hexadecimal after `0x`, or octal after `0`. `SIZE` is a number with the
  suffix `B`, `K`, `M`, `G` or `T`; without a suffix it is in KiB.
- The length of the line is limited to 16 KiB. Its first word is skipped if it is `placeholder`,
  which Debian's GRUB menu inserts, or the image's path.
- At boot, the log reports each option that is unknown, has an invalid value, or has no effect. The
  other options are applied.

";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    text += "## Supported options\n\n| option | effect |\n| --- | --- |\n";
    for row in TABLE {
        if let Effect::Taken { summary, .. } = row.effect {
            let _ = writeln!(text, "| {} | {summary} |", name(row));
        }
    }
    text += "\n## Options of Xen without effect\n\n| option | reason |\n| --- | --- |\n";
    for row in TABLE {
        if let Effect::None(why) = row.effect {
            let _ = writeln!(text, "| {} | {why} |", name(row));
        }
    }
    text
}

fn name(row: &Row) -> String {
    format!("`{}={}`", row.name, row.form.replace('|', "\\|"))
}

fn main() {
    print!("{}", document());
}
