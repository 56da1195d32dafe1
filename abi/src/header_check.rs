//! Compares this crate's numbers with the installed public headers through the C compiler.
//!
//! Requires `cc` and the headers (Debian: `gcc`, `libxen-dev`). If one is missing, the check is
//! skipped and prints the reason.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Fails unless each C expression has the given value when `header` (a path below `/usr/include`)
/// is included.
///
/// Padding of this crate (fields that begin with `_pad`) has no C name and is omitted.
pub(crate) fn agree(header: &str, expected: &[(&str, i128)]) {
    if !Path::new("/usr/include").join(header).exists() {
        eprintln!("skipped: no /usr/include/{header}");
        return;
    }
    let mut program = format!(
        "#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n#include <xen/xen.h>\n#include <{header}>\n"
    );
    for (expression, value) in expected.iter().filter(|(expression, _)| !expression.contains(", _pad")) {
        writeln!(program, "_Static_assert((__int128)({expression}) == {}, \"{expression}\");", literal(*value))
            .unwrap();
    }
    let compiler =
        Command::new("cc").args(["-std=gnu11", "-fsyntax-only", "-x", "c", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut compiler) = compiler else {
        eprintln!("skipped: no C compiler");
        return;
    };
    compiler.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success(), "{header} differs: see the compiler's messages");
}

/// A C literal of the value; all values fit 64 bits, signed or unsigned.
fn literal(value: i128) -> String {
    if value < 0 { format!("({value}LL)") } else { format!("{value}ULL") }
}
