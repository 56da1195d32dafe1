//! Runs other programs, either with their output captured for an error message, or on the terminal.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs the command without showing its output. An error contains the output.
pub(crate) fn quiet(command: &mut Command) -> Result<Output> {
    let name = describe(command);
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let printed = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
        bail!("{name} failed ({}):\n{}", output.status, printed.trim_end());
    }
    Ok(output)
}

/// Runs the command with its output on the terminal.
pub(crate) fn shown(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Whether a program of this name can be started.
pub(crate) fn exists(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The command line for messages, without the environment.
fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().take(6).map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}
