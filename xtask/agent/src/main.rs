//! Runs one command inside a guest and reports it on standard output, a line for each frame: `@run
//! out BASE64`, `@run err BASE64`, and last `@run exit STATUS`.
//!
//! Frames separate the command's bytes from other console output (kernel messages, the hypervisor's
//! log), and its output from its errors. The command line is stored in a file with the arguments
//! separated by zero bytes, so any argument reaches the command unchanged.
//!
//! With `--steps` the file holds several commands. Each has a name, a time limit in seconds and a
//! script, all three strings terminated by a zero byte. A shell runs each step; `@run step NAME`
//! and `@run done STATUS MICROSECONDS` enclose its frames. A line of standard input starts each
//! step, and another one ends the agent after the last. The final status is that of the first step
//! that failed.
//!
//! Run under the name `threads`, the binary is the kernel tests' program of that name. One file
//! serves both, because a guest may have little memory.

mod threads;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes in a frame. The limit keeps each frame on one line of any console.
const FRAME: usize = 120;

/// Exit status of a shell that cannot start a command.
const NOT_STARTED: i32 = 127;

/// Seconds that a step has to exit after it was told to.
const GRACE: &str = "10";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| Path::new(&name).file_name() == Some(OsStr::new("threads"))) {
        return threads::run();
    }
    let (action, file): (fn(&[u8]) -> i32, _) = match (arguments.next(), arguments.next()) {
        (Some(option), Some(file)) if option == "--steps" => (steps, file),
        (Some(file), None) => (run, file),
        _ => {
            eprintln!("usage: agent [--steps] FILE");
            return ExitCode::FAILURE;
        }
    };
    let status = match std::fs::read(&file) {
        Ok(bytes) => action(&bytes),
        Err(error) => {
            frame("err", format!("{}: {error}\n", file.display()).as_bytes());
            NOT_STARTED
        }
    };
    line(&format!("@run exit {status}\n"));
    ExitCode::SUCCESS
}

/// Runs the steps in order, also after failures, and returns the status of the first that failed.
fn steps(bytes: &[u8]) -> i32 {
    let mut strings = bytes.split(|&byte| byte == 0);
    let mut first = 0;
    let mut starts = io::stdin().lines();
    while let (Some(name), Some(seconds), Some(script)) = (strings.next(), strings.next(), strings.next()) {
        if !matches!(starts.next(), Some(Ok(_))) {
            frame("err", b"nothing starts the next step\n");
            return NOT_STARTED;
        }
        line(&format!("@run step {}\n", String::from_utf8_lossy(name)));
        let start = Instant::now();
        let mut command = Command::new("timeout");
        command.args(["-k", GRACE]).arg(OsStr::from_bytes(seconds)).args(["sh", "-eu", "-c"]);
        let status = report(command.arg(OsStr::from_bytes(script)));
        line(&format!("@run done {status} {}\n", start.elapsed().as_micros()));
        first = if first == 0 { status } else { first };
    }
    // If the input has ended, this is the end as well.
    let _ = starts.next();
    first
}

/// Runs the command whose arguments are in `bytes` and returns its status as a shell would report
/// it.
fn run(bytes: &[u8]) -> i32 {
    let mut words = bytes
        .strip_suffix(b"\0")
        .unwrap_or(bytes)
        .split(|&byte| byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()));
    let program = words.next().unwrap_or_default();
    report(Command::new(&program).args(words))
}

/// Runs `command`, sends its output as it arrives, and returns its status as a shell would report
/// it.
fn report(command: &mut Command) -> i32 {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            frame("err", format!("{}: {error}\n", command.get_program().display()).as_bytes());
            return NOT_STARTED;
        }
    };
    let output = child.stdout.take().map(|pipe| thread::spawn(move || forward("out", pipe)));
    let errors = child.stderr.take().map(|pipe| thread::spawn(move || forward("err", pipe)));
    for thread in [output, errors].into_iter().flatten() {
        // A thread whose read failed has already sent everything before the failure.
        let _ = thread.join();
    }
    match child.wait() {
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(NOT_STARTED),
        Err(_) => NOT_STARTED,
    }
}

/// Sends everything read from `pipe` in frames of kind `kind`.
fn forward(kind: &str, mut pipe: impl Read) {
    let mut buffer = [0; FRAME];
    while let Ok(length @ 1..) = pipe.read(&mut buffer) {
        frame(kind, &buffer[..length]);
    }
}

fn frame(kind: &str, bytes: &[u8]) {
    for chunk in bytes.chunks(FRAME) {
        line(&format!("@run {kind} {}\n", STANDARD.encode(chunk)));
    }
}

/// Writes a whole line with one call, so that lines of two threads never mix.
fn line(text: &str) {
    let mut output = io::stdout().lock();
    // If the console is gone, there is no place to report it.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
