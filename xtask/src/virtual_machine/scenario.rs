//! Scenarios: shell files with steps that the control domain runs in order. Each step is a check.
//!
//! `#: NAME` starts a step; `#: NAME (SECONDS)` gives it a time limit. Text before the first step
//! (functions, variables) is prepended to each step. A step passes if its shell, which stops at the
//! first failing command, exits with zero.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::virtual_machine::machine::Booted;
use crate::virtual_machine::session::{SessionEvent, Stream};

/// Default time limit of a step.
const TIME: Duration = Duration::from_secs(300);

/// The steps of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: String,
    time: Duration,
    script: String,
}

/// Result of a step.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) name: String,
    pub(crate) status: i32,
    pub(crate) output: String,
    /// By the host's clock.
    pub(crate) wall: Duration,
    /// Since the machine was started.
    pub(crate) ended: Duration,
    /// By the control domain's clock.
    pub(crate) guest: Duration,
}

impl Scenario {
    /// Parses `text`; `prelude` is prepended to each step.
    pub(crate) fn parse(prelude: &str, text: &str) -> Result<Self> {
        let mut steps: Vec<Step> = Vec::new();
        let mut own = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("#: ") {
                let (title, time) = split_time(title)?;
                steps.push(Step { name: title.into(), time, script: format!("{prelude}\n{own}") });
            } else {
                let script = steps.last_mut().map_or(&mut own, |step| &mut step.script);
                script.push_str(line);
                script.push('\n');
            }
        }
        ensure!(!steps.is_empty(), "the scenario has no steps");
        Ok(Self { steps })
    }

    /// The file that the agent reads.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let strings = self
            .steps
            .iter()
            .flat_map(|step| [step.name.clone(), step.time.as_secs().to_string(), step.script.clone()]);
        strings.flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect()
    }

    /// Follows the machine that runs the scenario and calls `ended` for each step. An error
    /// concerns the machine.
    pub(crate) fn follow(&self, booted: &mut Booted, mut ended: impl FnMut(&Answer)) -> Result<()> {
        let mut current: Option<Answer> = None;
        let mut began = Duration::ZERO;
        let limits = booted.limits;
        booted
            .session
            .follow(limits, |session, event| match event {
                SessionEvent::StepBegan(name) => {
                    began = session.elapsed();
                    let (wall, guest, ended) = (Duration::ZERO, Duration::ZERO, began);
                    current = Some(Answer { name: name.into(), status: -1, output: String::new(), wall, ended, guest });
                }
                SessionEvent::Output(_, Stream::Out | Stream::Err, bytes) => {
                    if let Some(answer) = &mut current {
                        answer.output.push_str(&String::from_utf8_lossy(&bytes));
                    }
                }
                SessionEvent::StepEnded(status, time) => {
                    if let Some(mut answer) = current.take() {
                        (answer.status, answer.guest, answer.ended) = (status, time, session.elapsed());
                        answer.wall = answer.ended.saturating_sub(began);
                        ended(&answer);
                    }
                }
                _ => {}
            })
            .with_context(|| {
                current.as_ref().map_or_else(|| "before the first step".into(), |step| format!("in '{}'", step.name))
            })
    }
}

impl Answer {
    /// What went wrong, if anything did: the status and the last lines of output.
    pub(crate) fn complaint(&self) -> Option<String> {
        const LINES: usize = 12;
        let lines: Vec<&str> = self.output.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n    ");
        match self.status {
            0 => None,
            124 | 137 => Some(format!("took too long\n    {last}")),
            status => Some(format!("status {status}\n    {last}")),
        }
    }
}

/// Parses a title into name and time limit, if it has one.
fn split_time(title: &str) -> Result<(&str, Duration)> {
    let Some((name, time)) = title.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (")) else {
        return Ok((title, TIME));
    };
    let seconds = time.parse().with_context(|| format!("'{time}' should be the seconds that a step may take"))?;
    Ok((name, Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_what_stands_before_them() {
        let scenario = Scenario::parse("p", "f() { :; }\n#: one\nf\n#: two (7)\n! f\n").expect("two steps");
        assert_eq!(scenario.steps[0].script, "p\nf() { :; }\nf\n");
        assert_eq!((scenario.steps[1].name.as_str(), scenario.steps[1].time), ("two", Duration::from_secs(7)));
        assert_eq!(scenario.encode().iter().filter(|&&byte| byte == 0).count(), 6);
        assert!(Scenario::parse("", "f\n").is_err());
        assert!(Scenario::parse("", "#: one (soon)\n").is_err());
    }
}
