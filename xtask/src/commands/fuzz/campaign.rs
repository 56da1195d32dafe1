//! The processes of a target, from their start until the time limit, the number of calls, or a
//! failure.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::build::Target;
use super::corpus;
use crate::foundation::workspace;

/// Makes a target recount the frame table after each step.
pub(crate) const EACH_STEP: &str = "FUZZ_EACH_STEP";
/// Makes a target write its number of hypercalls to a file.
const CALLS_FILE: &str = "FUZZ_CALLS_FILE";
/// Maximum input length. Guests do more with a long input, and each input creates a pair of guests.
const MAX_INPUT: u32 = 4096;
/// An input that takes longer is a failure.
const MAX_SECONDS: u32 = 60;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// When a target has run long enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Time(Duration),
    Calls(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(formatter, "{} s", time.as_secs()),
            Self::Calls(calls) => write!(formatter, "{} calls", grouped(*calls)),
        }
    }
}

/// What a target has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) calls: u64,
    pub(crate) time: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.calls != 0 {
            let rate = self.calls as f64 / self.time.as_secs_f64().max(0.001);
            write!(formatter, "{} calls, {} a second, ", grouped(self.calls), grouped(rate as u64))?;
        }
        write!(formatter, "{} s", self.time.as_secs())
    }
}

/// Formats a number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The program of a target with the arguments that are always given.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg(format!("-max_len={MAX_INPUT}"))
        .arg(format!("-timeout={MAX_SECONDS}"))
        .args(["-len_control=20", "-rss_limit_mb=4096"])
        .current_dir(workspace::target());
    command
}

/// Processes that are killed on drop.
struct Processes(Vec<Process>);

struct Process {
    child: Child,
    calls: PathBuf,
    log: PathBuf,
}

/// Runs a target.
pub(crate) fn run(target: &Target, program: &Path, limit: Limit, jobs: u32) -> Result<Outcome> {
    let logs = workspace::made(workspace::target().join("fuzz/logs"))?;
    let crashes = workspace::made(workspace::target().join("fuzz/crashes").join(target.name))?;
    let (working, kept) = corpus::folders(target)?;
    let start = Instant::now();
    let mut processes = Processes(Vec::new());
    for job in 0..jobs {
        let file = |ending: &str| logs.join(format!("{}-{job}.{ending}", target.name));
        let (calls, log) = (file("calls"), file("log"));
        fs::write(&calls, "0")?;
        let mut command = command(program);
        command.arg(format!("-artifact_prefix={}/", crashes.display())).env(CALLS_FILE, &calls);
        if let Limit::Time(time) = limit {
            command.arg(format!("-max_total_time={}", time.as_secs()));
        }
        command.arg(&working).args(kept.is_dir().then_some(&kept));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        processes.0.push(Process { child, calls, log });
    }
    let mut stopped = false;
    loop {
        thread::sleep(LOOK_EVERY);
        let calls = processes.calls();
        if !stopped && matches!(limit, Limit::Calls(wanted) if calls >= wanted) {
            processes.stop();
            stopped = true;
        }
        if processes.all_ended(&crashes)? {
            return Ok(Outcome { calls: processes.calls(), time: start.elapsed() });
        }
    }
}

impl Processes {
    fn calls(&self) -> u64 {
        // The file may be in the middle of being written.
        let made = |process: &Process| fs::read_to_string(&process.calls).ok()?.trim().parse::<u64>().ok();
        self.0.iter().filter_map(made).sum()
    }

    /// Tells each process to exit after its current input.
    fn stop(&self) {
        for process in &self.0 {
            if let Some(pid) = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw) {
                // A process that has exited is noticed in the next round.
                let _ = kill_process(pid, Signal::USR1);
            }
        }
    }

    /// Whether all have exited.
    fn all_ended(&mut self, crashes: &Path) -> Result<bool> {
        let mut ended = true;
        for process in &mut self.0 {
            match process.child.try_wait()? {
                None => ended = false,
                Some(status) if status.success() => {}
                Some(status) => {
                    let log = fs::read_to_string(&process.log).unwrap_or_default();
                    let said = log.lines().filter(|line| line.contains("panicked") || line.contains("ERROR"));
                    bail!(
                        "{status}: {} (log: {}; inputs: {})",
                        said.collect::<Vec<_>>().join("; "),
                        process.log.display(),
                        crashes.display()
                    );
                }
            }
        }
        Ok(ended)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // A process that has exited cannot be killed.
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Limit, Outcome, grouped};

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn an_outcome_tells_calls_and_rate() {
        let outcome = Outcome { calls: 50_000, time: Duration::from_secs(2) };
        assert_eq!(outcome.to_string(), "50,000 calls, 25,000 a second, 2 s");
        assert_eq!(Outcome { calls: 0, time: Duration::from_secs(2) }.to_string(), "2 s");
        assert_eq!(Limit::Calls(1000).to_string(), "1,000 calls");
    }
}
