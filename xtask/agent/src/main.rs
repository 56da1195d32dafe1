//! Runs one command inside a guest and reports it on standard output, a line for each frame:
//! `@run out BASE64`, `@run err BASE64`, and last `@run exit STATUS`.
//!
//! Frames keep the command's bytes apart from whatever else is written to the console (kernel messages, the
//! hypervisor's own log), and its output apart from its errors. The command line stands in a file, the arguments
//! separated by zero bytes, so that any argument reaches the command as it was typed.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes in a frame: short enough that a frame is one line on any console.
const FRAME: usize = 120;

/// What a shell answers when it cannot start a command.
const NOT_STARTED: i32 = 127;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("usage: agent FILE");
        return ExitCode::FAILURE;
    };
    let status = match std::fs::read(&file) {
        Ok(bytes) => run(&bytes),
        Err(error) => {
            frame("err", format!("{}: {error}\n", file.display()).as_bytes());
            NOT_STARTED
        }
    };
    line(&format!("@run exit {status}\n"));
    ExitCode::SUCCESS
}

/// Runs the command whose arguments stand in `bytes` and returns its status as a shell would report it.
fn run(bytes: &[u8]) -> i32 {
    let mut words = bytes
        .strip_suffix(b"\0")
        .unwrap_or(bytes)
        .split(|&byte| byte == 0)
        .map(|word| OsString::from_vec(word.to_vec()));
    let program = words.next().unwrap_or_default();
    let child =
        Command::new(&program).args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            frame("err", format!("{}: {error}\n", program.display()).as_bytes());
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
