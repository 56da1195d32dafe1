//! A session: one machine from power-on to power-off. It follows the serial line, records the
//! output of each guest and how it ended, and derives the verdict.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::virtual_machine::qemu::{Event, Running};
use crate::virtual_machine::serial::{Decoder, Piece, RUN_MARK, Source};

/// Prefix of the line with which a test guest reports its result.
pub(crate) const RESULT: &str = "RESULT: ";

/// Default time from the end of the last guest, or a panic of the hypervisor, to power-off.
pub(crate) const END_TIME: Duration = Duration::from_secs(20);

/// Time after which an incomplete mark is passed through.
const IDLE_TIME: Duration = Duration::from_millis(100);

/// Output streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// An event of the session, for the caller.
#[derive(Debug)]
pub(crate) enum SessionEvent<'a> {
    /// A line of the hypervisor or of a guest's console, in the form of a boot log.
    Log(&'a str),
    /// A guest has reached user space.
    Ready,
    /// A guest's command has written output.
    Output(&'a str, Stream, Vec<u8>),
    /// A step of a scenario begins.
    StepBegan(&'a str),
    /// A step has ended with this status, after this time by the guest's clock.
    StepEnded(i32, Duration),
    /// Bytes of the console that is passed through.
    Console(Vec<u8>),
}

/// State of a guest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guest {
    /// Time of the kernel's first line, in which it names itself.
    pub(crate) first_line: Option<Duration>,
    pub(crate) ready: Option<Duration>,
    /// Exit status of its command or shell.
    pub(crate) status: Option<i32>,
    /// The end of the guest as reported by the hypervisor.
    pub(crate) ended: Option<String>,
    /// Why it was not started.
    pub(crate) refused: Option<String>,
    /// The panic message of its kernel.
    pub(crate) panic: Option<String>,
    /// The last `RESULT:` line, of a test guest.
    pub(crate) result: Option<String>,
    /// Whether the hypervisor may end it.
    may_be_killed: bool,
}

/// A machine that is followed.
#[derive(Debug)]
pub(crate) struct Session {
    running: Running,
    decoder: Decoder,
    log: File,
    log_path: PathBuf,
    guests: BTreeMap<String, Guest>,
    /// The guest that unmarked lines belong to, if it has the serial line to itself.
    alone: Option<String>,
    host_panic: Option<String>,
    /// The hypervisor's last error that concerns no guest.
    host_error: Option<String>,
    /// When the last guest, or the hypervisor, ended.
    over_since: Option<Duration>,
    /// Whether the machine is off.
    off: bool,
}

/// Time limits of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From power-on until all guests have reached user space.
    pub(crate) boot: Option<Duration>,
    /// From power-on to power-off.
    pub(crate) whole: Option<Duration>,
    /// From the end of the last guest to power-off.
    pub(crate) end: Duration,
}

impl Session {
    /// Follows `running`, whose guests have these names. With `alone` the only guest's console is
    /// the whole serial line.
    pub(crate) fn new(running: Running, names: &[String], alone: bool, log_path: &Path) -> Result<Self> {
        let log = File::create(log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        Ok(Self {
            running,
            decoder: Decoder::default(),
            log,
            log_path: log_path.to_owned(),
            guests: names.iter().map(|name| (name.clone(), Guest::default())).collect(),
            alone: names.first().filter(|_| alone).cloned(),
            host_panic: None,
            host_error: None,
            over_since: None,
            off: false,
        })
    }

    /// Switches to passing the console's bytes through.
    pub(crate) fn pass_through(&mut self) {
        self.decoder.pass_through();
    }

    /// The machine's serial input.
    pub(crate) fn take_input(&mut self) -> Option<impl Write + Send + 'static> {
        self.running.take_input()
    }

    /// The guests, by name.
    pub(crate) fn guests(&self) -> &BTreeMap<String, Guest> {
        &self.guests
    }

    /// Accepts that the hypervisor ends this guest.
    pub(crate) fn may_be_killed(&mut self, name: &str) {
        if let Some(guest) = self.guests.get_mut(name) {
            guest.may_be_killed = true;
        }
    }

    /// Time since the machine was started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.running.elapsed()
    }

    /// Path of the complete serial output.
    pub(crate) fn log_path(&self) -> &Path {
        &self.log_path
    }

    /// Whether the machine is off.
    pub(crate) fn is_off(&self) -> bool {
        self.off
    }

    /// Ends the machine as a loss of power would.
    pub(crate) fn cut_power(&mut self) {
        self.running.cut_power();
        self.off = true;
    }

    /// Follows the machine until it is off. An error describes what went wrong in a sentence; a
    /// failing command of a guest is not an error.
    pub(crate) fn follow(&mut self, limits: Limits, mut act: impl FnMut(&mut Self, SessionEvent<'_>)) -> Result<()> {
        while !self.off {
            self.advance(limits, IDLE_TIME, &mut act)?;
        }
        Ok(())
    }

    /// Follows the machine until its next output, at most for `time`.
    pub(crate) fn advance(
        &mut self,
        limits: Limits,
        time: Duration,
        act: &mut impl FnMut(&mut Self, SessionEvent<'_>),
    ) -> Result<()> {
        let now = self.elapsed();
        let booted = self.guests.values().all(|guest| guest.ready.is_some() || guest.is_over());
        let over = self.guests.values().all(Guest::is_over) || self.host_panic.is_some();
        let boot = limits.boot.filter(|_| !booted);
        let mut deadline = [limits.whole, boot].into_iter().flatten().min();
        if over {
            deadline = Some(*self.over_since.get_or_insert(now) + limits.end);
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.check()?;
            return self.too_late(over, booted, now);
        }
        let wait = deadline.map_or(time, |deadline| time.min(deadline - now));
        let pieces = match self.running.next(Instant::now() + wait)? {
            Event::Output(bytes) => {
                self.log.write_all(&bytes)?;
                self.decoder.push(&bytes)
            }
            Event::Timeout => self.decoder.idle(),
            Event::Ended => {
                self.off = true;
                return self.check_end();
            }
        };
        for piece in pieces {
            self.piece(piece, act);
        }
        Ok(())
    }

    /// Fails if the machine, which is off, went off too early.
    fn check_end(&self) -> Result<()> {
        self.check()?;
        let silent: Vec<&str> =
            self.guests.iter().filter(|(_, guest)| !guest.is_over()).map(|(name, _)| name.as_str()).collect();
        if !silent.is_empty() {
            let messages = Some(self.running.messages()).filter(|messages| !messages.is_empty());
            let cause = self.host_error.clone().or(messages).unwrap_or_else(|| "the machine went off".into());
            bail!("{cause} while {} still ran (log: {})", silent.join(", "), self.log_path.display());
        }
        Ok(())
    }

    /// Fails if a guest was refused or died, or the hypervisor did.
    fn check(&self) -> Result<()> {
        let log = self.log_path.display();
        if let Some(text) = &self.host_panic {
            bail!("the hypervisor stopped: {text} (log: {log})");
        }
        for (name, guest) in &self.guests {
            if let Some(reason) = &guest.refused {
                bail!("{name} was not started: {reason}");
            }
            let said = guest.panic.as_ref().map(|text| format!("; its kernel said: {text}")).unwrap_or_default();
            match guest.ended.as_deref() {
                Some(ending) if !guest.is_expected(ending) => bail!("{name} died: {ending}{said} (log: {log})"),
                None if !said.is_empty() => bail!("{name} died{said} (log: {log})"),
                _ => {}
            }
        }
        Ok(())
    }

    fn too_late(&self, over: bool, booted: bool, time: Duration) -> Result<()> {
        let log = self.log_path.display();
        let seconds = time.as_secs();
        if over {
            bail!("the machine did not power off after its last guest had ended (log: {log})");
        }
        if !booted {
            bail!("no user space after {seconds} s (log: {log})");
        }
        bail!("not done after {seconds} s (log: {log})")
    }

    fn piece(&mut self, piece: Piece, act: &mut impl FnMut(&mut Self, SessionEvent<'_>)) {
        let time = self.running.elapsed();
        let (source, text) = match piece {
            Piece::Bytes(bytes) => return act(self, SessionEvent::Console(bytes)),
            Piece::Line(source, text) => (source, text),
        };
        let name = match (source, &self.alone) {
            (Source::Host, _) => {
                self.host_line(&text);
                return act(self, SessionEvent::Log(&format!("(host) {text}")));
            }
            (Source::Guest(name), _) => name,
            (Source::Plain, Some(name)) => name.clone(),
            (Source::Plain, None) => return act(self, SessionEvent::Log(&text)),
        };
        let marked = text.strip_prefix(RUN_MARK).and_then(Frame::parse);
        let Some(guest) = self.guests.get_mut(&name) else { return };
        if text.contains("Linux version") {
            guest.first_line.get_or_insert(time);
        }
        match marked {
            Some(Frame::Ready) => {
                guest.ready = Some(time);
                act(self, SessionEvent::Ready);
            }
            Some(Frame::Output(stream, bytes)) => act(self, SessionEvent::Output(&name, stream, bytes)),
            Some(Frame::Step(step)) => act(self, SessionEvent::StepBegan(&step)),
            Some(Frame::Done(status, time)) => act(self, SessionEvent::StepEnded(status, time)),
            Some(Frame::Exit(status)) => guest.status = Some(status),
            None => {
                if let Some((_, words)) = text.split_once("Kernel panic - ") {
                    guest.panic.get_or_insert_with(|| words.into());
                }
                if let Some(result) = text.strip_prefix(RESULT) {
                    guest.result = Some(result.into());
                }
                act(self, SessionEvent::Log(&format!("[{name}] {text}")));
            }
        }
    }

    /// Parses the lines in which the hypervisor reports the end of a guest, or its own.
    fn host_line(&mut self, text: &str) {
        let error = text.strip_prefix("error: ");
        let text = error.unwrap_or(text);
        if ["panic", "Panic on CPU", "fatal trap"].iter().any(|start| text.starts_with(start)) {
            self.host_panic.get_or_insert_with(|| text.into());
        }
        let told = text.strip_prefix("guest ").and_then(|rest| rest.split_once(' '));
        if let Some((name, rest)) = told
            && let Some(guest) = self.guests.get_mut(name)
        {
            if let Some(ending) = rest.strip_prefix("ended: ") {
                guest.ended = Some(ending.trim().into());
                return;
            } else if let Some(reason) = rest.strip_prefix("not started: ") {
                guest.refused = Some(reason.trim().into());
                return;
            }
        }
        let initial = ["initial domain not started: ", "initial domain cannot work: "];
        if let Some(reason) = initial.iter().find_map(|start| text.strip_prefix(start)) {
            // There is no other guest in this case.
            self.guests.values_mut().for_each(|guest| guest.refused = Some(reason.trim().into()));
        }
        if error.is_some() {
            self.host_error = Some(text.into());
        }
    }
}

impl Guest {
    fn is_expected(&self, ending: &str) -> bool {
        let kind = ending.split([':', ' ']).next().unwrap_or_default();
        kind == "poweroff" || (self.may_be_killed && ["killed", "crash"].contains(&kind))
    }

    /// Whether the guest has ended.
    fn is_over(&self) -> bool {
        self.ended.is_some()
            || self.refused.is_some()
            || self.status.is_some()
            || self.result.is_some()
            || self.panic.is_some()
    }
}

/// Handles a line that the ramdisk sends to xtask.
#[derive(Debug)]
enum Frame {
    Ready,
    Output(Stream, Vec<u8>),
    Step(String),
    Done(i32, Duration),
    Exit(i32),
}

impl Frame {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
        match kind {
            "ready" => Some(Self::Ready),
            "out" => Some(Self::Output(Stream::Out, STANDARD.decode(rest).ok()?)),
            "err" => Some(Self::Output(Stream::Err, STANDARD.decode(rest).ok()?)),
            "step" => Some(Self::Step(rest.into())),
            "done" => {
                let (status, time) = rest.split_once(' ')?;
                Some(Self::Done(status.parse().ok()?, Duration::from_micros(time.parse().ok()?)))
            }
            "exit" => Some(Self::Exit(rest.parse().ok()?)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Frame, Guest, Stream};

    #[test]
    fn frames_that_are_damaged_are_none() {
        assert!(matches!(Frame::parse("ready"), Some(Frame::Ready)));
        assert!(matches!(Frame::parse("exit 137"), Some(Frame::Exit(137))));
        assert!(matches!(Frame::parse("out aGk="), Some(Frame::Output(Stream::Out, bytes)) if bytes == b"hi"));
        for damaged in ["", "exit", "exit x", "out aGk", "out ?", "exit 99999999999", "done 1", "done 1 x", "no frame"]
        {
            assert!(Frame::parse(damaged).is_none(), "{damaged}");
        }
    }

    #[test]
    fn only_some_guests_may_be_killed() {
        let ordinary = Guest::default();
        let hostile = Guest { may_be_killed: true, ..Guest::default() };
        assert!(ordinary.is_expected("poweroff") && hostile.is_expected("poweroff"));
        assert!(hostile.is_expected("killed: bad page table") && !ordinary.is_expected("killed: bad page table"));
        assert!(!hostile.is_expected("reboot") && !ordinary.is_expected(""));
    }
}
