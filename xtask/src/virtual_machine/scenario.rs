//! Scenarios: shell files with steps that control domains run in order, on one host or on several.
//! Each step is a check.
//!
//! `#: NAME` starts a step; `#: NAME (SECONDS)` gives it a time limit. Text before the first step
//! (functions, variables) is prepended to each step. A step passes if its shell, which stops at the
//! first failing command, exits with zero.
//!
//! With several hosts, `#: HOST: NAME` names the one that runs the step, and `#! HOST` switches one
//! off as a loss of power would.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::virtual_machine::machine::Booted;
use crate::virtual_machine::session::{SessionEvent, Stream};

/// The hosts of a scenario on a single machine. Its steps do not name it.
pub(crate) const ALONE: &[&str] = &["control"];

/// Default time limit of a step.
const TIME: Duration = Duration::from_secs(300);

/// Time for which one of several machines is followed before the next one is.
const TURN: Duration = Duration::from_millis(10);

/// The steps of a scenario.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    hosts: &'static [&'static str],
    steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// With the name of its host, if there are several.
    name: String,
    /// Index of its host.
    host: usize,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// The control domain runs this script within this time.
    Run(Duration, String),
    /// The host loses its power.
    CutPower,
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
    /// Parses `text`, whose steps run on `hosts`; `prelude` is prepended to each step.
    pub(crate) fn parse(hosts: &'static [&'static str], prelude: &str, text: &str) -> Result<Self> {
        let mut steps: Vec<Step> = Vec::new();
        let mut own = String::new();
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("#: ") {
                let (title, time) = split_time(title)?;
                let host = if hosts.len() == 1 { 0 } else { named(hosts, title.split(':').next())? };
                let action = Action::Run(time, format!("{prelude}\n{own}"));
                steps.push(Step { name: title.into(), host, action });
            } else if let Some(host) = line.strip_prefix("#! ") {
                let name = format!("{host} is switched off");
                steps.push(Step { name, host: named(hosts, Some(host))?, action: Action::CutPower });
            } else {
                let script = match steps.last_mut().map(|step| &mut step.action) {
                    None => &mut own,
                    Some(Action::Run(_, script)) => script,
                    Some(Action::CutPower) => {
                        ensure!(line.is_empty(), "'{line}' should follow the title of a step");
                        continue;
                    }
                };
                script.push_str(line);
                script.push('\n');
            }
        }
        ensure!(!steps.is_empty(), "the scenario has no steps");
        Ok(Self { hosts, steps })
    }

    /// The file that the agent on this host reads.
    pub(crate) fn encode(&self, host: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for step in self.steps.iter().filter(|step| self.hosts[step.host] == host) {
            if let Action::Run(time, script) = &step.action {
                for text in [&step.name, &time.as_secs().to_string(), script] {
                    bytes.extend(text.as_bytes());
                    bytes.push(0);
                }
            }
        }
        bytes
    }

    /// Runs the scenario on machines that have booted with it, in the order of its hosts, and calls
    /// `ended` for each step. An error concerns a machine, which it names if there are several.
    pub(crate) fn follow(&self, machines: &mut [Booted], mut ended: impl FnMut(&Answer)) -> Result<()> {
        ensure!(machines.len() == self.hosts.len(), "{} machines for the hosts {:?}", machines.len(), self.hosts);
        let mut followed: Vec<Followed<'_>> = machines.iter_mut().map(Followed::new).collect::<Result<_>>()?;
        self.turns(&mut followed, |followed| followed.iter().all(Followed::is_ready))
            .context("before the first step")?;
        for step in &self.steps {
            match &step.action {
                Action::CutPower => followed[step.host].booted.session.cut_power(),
                Action::Run(..) => {
                    let in_step = || format!("in '{}'", step.name);
                    followed[step.host].proceed().with_context(in_step)?;
                    self.turns(&mut followed, |followed| followed[step.host].has_answered()).with_context(in_step)?;
                    let answer = followed[step.host].answer.take();
                    ended(&answer.context("the machine went off").with_context(in_step)?);
                }
            }
        }
        for host in followed.iter_mut().filter(|host| !host.is_off()) {
            host.proceed().context("after the last step")?;
        }
        self.turns(&mut followed, |followed| followed.iter().all(Followed::is_off)).context("after the last step")
    }

    /// Follows the machines in turn until `done`.
    fn turns(&self, followed: &mut [Followed<'_>], done: impl Fn(&[Followed<'_>]) -> bool) -> Result<()> {
        while !done(followed) {
            for (host, name) in followed.iter_mut().zip(self.hosts).filter(|(host, _)| !host.is_off()) {
                let result = host.turn();
                if self.hosts.len() == 1 { result? } else { result.context(*name)? }
            }
        }
        Ok(())
    }
}

/// A host that is followed.
struct Followed<'a> {
    booted: &'a mut Booted,
    input: Box<dyn Write>,
    /// The step that it runs, or has run.
    answer: Option<Answer>,
    began: Duration,
    /// Whether the step has ended.
    has_ended: bool,
}

impl<'a> Followed<'a> {
    fn new(booted: &'a mut Booted) -> Result<Self> {
        let input = Box::new(booted.session.take_input().context("the machine has no serial input")?);
        Ok(Self { booted, input, answer: None, began: Duration::ZERO, has_ended: false })
    }

    fn is_ready(&self) -> bool {
        self.booted.session.guests().values().all(|guest| guest.ready.is_some())
    }

    fn is_off(&self) -> bool {
        self.booted.session.is_off()
    }

    /// Whether the step has ended, or never will.
    fn has_answered(&self) -> bool {
        self.has_ended || self.is_off()
    }

    /// Makes the control domain continue with its next step, or power off after its last.
    fn proceed(&mut self) -> Result<()> {
        self.has_ended = false;
        self.input.write_all(b"\n").and_then(|()| self.input.flush()).context("the machine takes no input")
    }

    /// Follows the machine for a moment.
    fn turn(&mut self) -> Result<()> {
        let Self { booted, answer, began, has_ended, .. } = self;
        let limits = booted.limits;
        booted.session.advance(limits, TURN, &mut |session, event| match event {
            SessionEvent::StepBegan(name) => {
                *began = session.elapsed();
                let (wall, guest, ended) = (Duration::ZERO, Duration::ZERO, *began);
                *answer = Some(Answer { name: name.into(), status: -1, output: String::new(), wall, ended, guest });
            }
            SessionEvent::Output(_, Stream::Out | Stream::Err, bytes) => {
                if let Some(answer) = answer {
                    answer.output.push_str(&String::from_utf8_lossy(&bytes));
                }
            }
            SessionEvent::StepEnded(status, time) => {
                if let Some(answer) = answer {
                    (answer.status, answer.guest, answer.ended) = (status, time, session.elapsed());
                    answer.wall = answer.ended.saturating_sub(*began);
                    *has_ended = true;
                }
            }
            _ => {}
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

/// Index of the host with this name.
fn named(hosts: &[&str], name: Option<&str>) -> Result<usize> {
    let name = name.unwrap_or_default();
    let index = hosts.iter().position(|host| *host == name);
    index.with_context(|| format!("'{name}' should be a host: {}", hosts.join(", ")))
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
        let scenario = Scenario::parse(ALONE, "p", "f() { :; }\n#: one\nf\n#: two (7)\n! f\n").expect("two steps");
        let [one, two] = &scenario.steps[..] else { panic!("not two steps: {scenario:?}") };
        assert_eq!(one.action, Action::Run(TIME, "p\nf() { :; }\nf\n".into()));
        assert_eq!((two.name.as_str(), two.host), ("two", 0));
        assert_eq!(two.action, Action::Run(Duration::from_secs(7), "p\nf() { :; }\n! f\n".into()));
        assert_eq!(scenario.encode("control").iter().filter(|&&byte| byte == 0).count(), 6);
        assert!(Scenario::parse(ALONE, "", "f\n").is_err());
        assert!(Scenario::parse(ALONE, "", "#: one (soon)\n").is_err());
    }

    #[test]
    fn a_step_runs_on_the_host_that_it_names() {
        const HOSTS: &[&str] = &["alpha", "beta"];
        let scenario =
            Scenario::parse(HOSTS, "", "#: beta: one\nf\n#! alpha\n\n#: beta: two (7)\n").expect("three steps");
        assert_eq!(scenario.steps.iter().map(|step| step.host).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!(scenario.steps[1].action, Action::CutPower);
        assert_eq!(scenario.encode("beta"), b"beta: one\x00300\0\nf\n\0beta: two\x007\0\n\0");
        assert!(scenario.encode("alpha").is_empty());
        for wrong in ["#: one\n", "#: gamma: one\n", "#! gamma\n", "#! alpha\nf\n"] {
            assert!(Scenario::parse(HOSTS, "", wrong).is_err(), "{wrong}");
        }
    }
}
