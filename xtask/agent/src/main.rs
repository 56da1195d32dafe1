//! Runs one command inside a guest and reports it on standard output, a line for each frame: `@run
//! out BASE64`, `@run err BASE64`, and last `@run exit STATUS`.
//!
//! Frames keep the command's bytes apart from whatever else is written to the console (kernel
//! messages, the hypervisor's own log), and its output apart from its errors. The command line
//! stands in a file, the arguments separated by zero bytes, so that any argument reaches the
//! command as it was typed.
//!
//! With `--steps` the file holds several commands, each behind its name and the seconds that it may
//! take, one of these three a string that ends with a zero byte. A shell runs each, and `@run step
//! NAME` and `@run done STATUS MICROSECONDS` stand around its frames; the status at the end is that
//! of the first that failed.
//!
//! Called `threads` it is the kernel tests' program of that name: one file, since a guest may have
//! little memory.

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

/// Bytes in a frame: short enough that a frame is one line on any console.
const FRAME: usize = 120;

/// What a shell answers when it cannot start a command.
const NOT_STARTED: i32 = 127;

/// How long a step that was told to end may take for it, in seconds.
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

/// Runs one step after the other, whatever comes of them, and returns the status of the first that
/// failed.
fn steps(bytes: &[u8]) -> i32 {
    let mut strings = bytes.split(|&byte| byte == 0);
    let mut first = 0;
    while let (Some(name), Some(seconds), Some(script)) = (strings.next(), strings.next(), strings.next()) {
        line(&format!("@run step {}\n", String::from_utf8_lossy(name)));
        let start = Instant::now();
        let mut command = Command::new("timeout");
        command.args(["-k", GRACE]).arg(OsStr::from_bytes(seconds)).args(["sh", "-eu", "-c"]);
        let status = report(command.arg(OsStr::from_bytes(script)));
        line(&format!("@run done {status} {}\n", start.elapsed().as_micros()));
        first = if first == 0 { status } else { first };
    }
    first
}

/// Runs the command whose arguments stand in `bytes` and returns its status as a shell would report
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

/// Runs `command`, sends its outputs as they come, and returns its status as a shell would report
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
        // A thread that could not read to the end has already sent what there was.
        let _ = thread.join();
    }
    match child.wait() {
        Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(NOT_STARTED),
        Err(_) => NOT_STARTED,
    }
}

/// Sends everything that comes out of `pipe` in frames of kind `kind`.
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

/// Writes a whole line in one go, so that two threads never mix theirs.
fn line(text: &str) {
    let mut output = io::stdout().lock();
    // Nobody is left to tell when the console is gone.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
