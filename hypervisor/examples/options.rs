//! Prints `docs/options.md` from the table of options.

use std::fmt::Write;

use machine::boot::options::{Effect, Row, TABLE};

const HEAD: &str = "\
# Options

Generated from `machine/src/boot/options/table.rs` by `cargo xtask check --fix`; don't edit.

Options stand on Paravane's own command line, with the names and forms that Xen's have, separated by blanks: what a boot
entry for Xen says can stay. The kernel's options are the arguments of its module; words behind ` -- ` on Paravane's line
are added to those of the initial domain's kernel. `docs/boot.md` has the options of guests that are started from modules.

- Hyphens and underscores in a name are alike. Of an option that stands there twice the last counts, but for `dom0_mem`.
- `BOOL` is `yes`, `on`, `true`, `enable` or `1`, or `no`, `off`, `false`, `disable` or `0`. The bare name is `yes`, and
  with `no-` in front it is `no`.
- `NUMBER` is decimal, hexadecimal behind `0x` or octal behind `0`. `SIZE` is a number with `B`, `K`, `M`, `G` or `T`;
  without one it is in KiB.
- The line may be of 16 KiB. Its first word is skipped if it is `placeholder`, which Debian's GRUB menu puts there, or the
  image's path.
- The log says at boot of each option that is not known, makes no sense or has no effect that this is so; the rest counts
  all the same.

";

/// The whole document.
pub(crate) fn document() -> String {
    let mut text = String::from(HEAD);
    text += "## What has an effect\n\n| option | what it does |\n| --- | --- |\n";
    for row in TABLE {
        if let Effect::Taken { summary, .. } = row.effect {
            let _ = writeln!(text, "| {} | {summary} |", name(row));
        }
    }
    text += "\n## What is known from Xen and has no effect\n\n| option | because |\n| --- | --- |\n";
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
