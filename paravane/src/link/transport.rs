//! How the other host is reached: a command whose standard input and output are connected to
//! `paravane receive` there.

use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Link, PATIENCE};

/// Time that the command has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The other host and the command that connects to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// The host as the user named it.
    pub host: String,
    /// A shell command that is used instead of `ssh`.
    pub command: Option<String>,
}

/// A running command, which ends with this.
struct Running(Child);

impl Transport {
    /// Starts the command. It ends with the link.
    pub fn connect(&self) -> Result<Link> {
        ensure!(!self.host.starts_with('-'), "'{}' is not the name of a host", self.host);
        let mut command = match &self.command {
            Some(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).env("HOST", &self.host);
                shell
            }
            None => {
                let mut ssh = Command::new("ssh");
                // Without a terminal there is nobody to answer questions.
                ssh.args(["-T", "-o", "BatchMode=yes", "--", &self.host, "paravane", "receive"]);
                ssh
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut command =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let (input, output) = pipes(&mut command)?;
        Link::new(output.into(), input.into(), PATIENCE, Running(command))
    }
}

fn pipes(command: &mut Child) -> Result<(ChildStdin, ChildStdout)> {
    command.stdin.take().zip(command.stdout.take()).context("the command has no pipes")
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its input is closed.
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
