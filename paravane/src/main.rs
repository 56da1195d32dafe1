//! The command `paravane`.

use std::process::ExitCode;

fn main() -> ExitCode {
    paravane::commands::main()
}
