//! The Xen libraries in a process of their own, so that a failure of theirs does not end the
//! process that knows where the guest's right to run is.
//!
//! The worker's standard input is a socket: a request is a line of JSON, and so is an answer. While
//! it saves a domain it writes the stream to its standard output and asks for decisions by lines of
//! its own.

mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown as Ends;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::messages::Messages;
pub use process::serve;

/// Size of the pipe of the stream in bytes, if the system allows it.
const PIPE: usize = 1 << 20;

/// Most bytes of the stream that are taken at once.
const PIECE: usize = 1 << 20;

/// Time for a worker to end after it has been told to.
const GRACE: Duration = Duration::from_secs(30);

/// Longest answer in bytes.
const LINE: u64 = 1 << 16;

/// What the worker is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Request {
    /// The state of a domain.
    Domain(u32),
    Unpause(u32),
    /// Let a suspended domain continue.
    Resume(u32),
    /// Reserve memory until the domain has this many pages.
    Claim(u32, u64),
    /// Write the domain to the standard output; live, if the second value is true.
    Save(u32, bool),
    /// Decision about a round: a number of `Precopy`.
    Decide(Choice),
    /// Whether the domain is suspended now.
    Suspended(bool),
}

/// A decision about a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Another round.
    Continue,
    /// Suspend the guest.
    Stop,
    /// Give up.
    Abort,
}

/// What the worker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Done,
    Failed(String),
    Domain(Option<Domain>),
    /// A save asks for a decision: completed rounds, pages that the next one sends.
    Round(u32, Option<u64>),
    /// A save asks that the domain be suspended.
    Suspend,
}

/// A domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Whether the tools have paused it.
    pub is_paused: bool,
    /// Whether it is being removed.
    pub is_dying: bool,
    /// Why it has shut down, if it has.
    pub shutdown: Option<Shutdown>,
    /// Pages that it has.
    pub pages: u64,
    /// Pages that it may have.
    pub max_pages: u64,
    /// Its UUID.
    pub uuid: String,
}

/// Why a domain has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shutdown {
    /// It powered off.
    PowerOff,
    /// It wants to be started again.
    Reboot,
    /// It is suspended.
    Suspend,
    /// It crashed.
    Crash,
    /// Another reason.
    Other,
}

/// What happens while a domain is saved.
#[derive(Debug)]
pub enum Event {
    /// Bytes of the stream.
    Stream(Vec<u8>),
    /// Completed rounds, and pages that the next one sends.
    Round(u32, Option<u64>),
    /// The domain has to be suspended.
    Suspend,
    /// The save has ended.
    End(Result<()>),
    /// Nothing for a moment.
    Idle,
}

/// A running worker.
pub struct Worker {
    process: Child,
    control: BufReader<UnixStream>,
    /// The stream; closing it ends a save.
    stream: Option<ChildStdout>,
    messages: Messages,
}

impl Worker {
    /// Starts this program again as a worker.
    pub fn start() -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let (control, theirs) = UnixStream::pair()?;
        let mut process = Command::new(program)
            .arg("worker")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let messages = Messages::from(process.stderr.take().context("the worker has no output")?);
        let stream = process.stdout.take().context("the worker has no output")?;
        // Without the permission the pipe keeps its usual size.
        let _ = rustix::pipe::fcntl_setpipe_size(&stream, PIPE);
        Ok(Self { process, control: BufReader::new(control), stream: Some(stream), messages })
    }

    /// The domain with this id, or `None` if there is none.
    pub fn domain(&mut self, id: u32) -> Result<Option<Domain>> {
        match self.call(Request::Domain(id))? {
            Said::Domain(domain) => Ok(domain),
            other => bail!("unexpected answer of the worker: {other:?}"),
        }
    }

    /// Lets a domain run that the tools have paused.
    pub fn unpause(&mut self, id: u32) -> Result<()> {
        self.order(Request::Unpause(id))
    }

    /// Lets a suspended domain continue.
    pub fn resume(&mut self, id: u32) -> Result<()> {
        self.order(Request::Resume(id))
    }

    /// Reserves free memory until the domain has this many pages.
    pub fn claim(&mut self, id: u32, pages: u64) -> Result<()> {
        self.order(Request::Claim(id, pages))
    }

    /// Starts to save a domain. Until [`Event::End`], only [`Worker::event`], the answers to
    /// events, and [`Worker::domain`] may be used.
    pub fn save(&mut self, id: u32, live: bool) -> Result<()> {
        self.say(Request::Save(id, live))
    }

    /// Answers [`Event::Round`].
    pub fn decide(&mut self, choice: Choice) -> Result<()> {
        self.say(Request::Decide(choice))
    }

    /// Answers [`Event::Suspend`].
    pub fn suspended(&mut self, is_suspended: bool) -> Result<()> {
        self.say(Request::Suspended(is_suspended))
    }

    /// Waits for the next event of a save, at most for `time`. What the worker says comes after all
    /// bytes that it wrote before.
    pub fn event(&mut self, time: Duration) -> Result<Event> {
        if self.is_readable(Some(time))? {
            let mut piece = vec![0; PIECE];
            let length = self.stream()?.read(&mut piece).context("the worker's stream broke")?;
            if length > 0 {
                piece.truncate(length);
                return Ok(Event::Stream(piece));
            }
            // The worker has ended; it may have said why.
        } else if !self.has_said()? {
            return Ok(Event::Idle);
        } else if self.is_readable(None)? {
            // The bytes and the line arrived between the two looks.
            return self.event(Duration::ZERO);
        }
        Ok(match self.listen()? {
            Said::Round(round, dirty) => Event::Round(round, dirty),
            Said::Suspend => Event::Suspend,
            Said::Done => Event::End(Ok(())),
            Said::Failed(reason) => Event::End(Err(self.end(&reason))),
            other @ Said::Domain(_) => bail!("unexpected answer of the worker: {other:?}"),
        })
    }

    /// Whether the stream has bytes or has ended. Waits until it has, or the worker says something,
    /// at most for `time`.
    fn is_readable(&mut self, time: Option<Duration>) -> Result<bool> {
        let control = self.control.get_ref().try_clone()?;
        let mut ends = vec![PollFd::new(self.stream()?, PollFlags::IN)];
        if time.is_some() {
            ends.push(PollFd::new(&control, PollFlags::IN));
        }
        let time = Timespec::try_from(time.unwrap_or_default())?;
        match poll(&mut ends, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for the worker"),
        }
        Ok(ends.first().is_some_and(|stream| !stream.revents().is_empty()))
    }

    /// Whether the worker has said something.
    fn has_said(&self) -> Result<bool> {
        let control = self.control.get_ref();
        let mut ends = [PollFd::new(control, PollFlags::IN)];
        match poll(&mut ends, Some(&Timespec::default())) {
            Ok(count) => Ok(count > 0 || !self.control.buffer().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error).context("cannot wait for the worker"),
        }
    }

    fn order(&mut self, request: Request) -> Result<()> {
        match self.call(request)? {
            Said::Done => Ok(()),
            other => bail!("unexpected answer of the worker: {other:?}"),
        }
    }

    fn call(&mut self, request: Request) -> Result<Said> {
        self.say(request)?;
        match self.listen()? {
            Said::Failed(reason) => bail!(reason),
            said => Ok(said),
        }
    }

    fn say(&mut self, request: Request) -> Result<()> {
        say(self.control.get_mut(), &request).context("the worker has ended")
    }

    fn listen(&mut self) -> Result<Said> {
        let said = listen(&mut self.control)?;
        said.ok_or_else(|| self.end("the worker has ended"))
    }

    fn stream(&mut self) -> Result<&mut ChildStdout> {
        self.stream.as_mut().context("the worker has ended")
    }

    /// Ends the process; an error with what the libraries said.
    fn end(&mut self, reason: &str) -> Error {
        self.close();
        anyhow::anyhow!("{reason}: {}", self.messages.last())
    }

    /// Ends the process. A save notices that nobody listens, and ends as after an error: by
    /// switching the log of dirty pages off.
    fn close(&mut self) {
        self.stream = None;
        let _ = self.control.get_ref().shutdown(Ends::Both);
        let end = Instant::now() + GRACE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

/// Writes a line.
fn say(control: &mut impl Write, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(control.write_all(&line)?)
}

/// Reads a line; `None` at the end.
fn listen<T: for<'a> Deserialize<'a>>(control: &mut impl BufRead) -> Result<Option<T>> {
    let mut line = Vec::new();
    control.take(LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    ensure!(line.ends_with(b"\n"), "a line of the worker's socket is cut off");
    Ok(Some(serde_json::from_slice(&line)?))
}
