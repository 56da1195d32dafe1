//! A client of the xenstore daemon, over its socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use abi::xenstore::{error, limit, message};
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The daemon's socket.
const SOCKET: &str = "/var/run/xenstored/socket";

/// Bytes of a message before its payload: type, request, transaction and length.
const HEADER: usize = 16;

/// A connection to the daemon.
pub struct Store {
    socket: UnixStream,
    /// Events of watches that arrived while an answer was awaited.
    has_event: bool,
}

impl Store {
    /// Connects to the daemon.
    pub fn connect() -> Result<Self> {
        let socket = UnixStream::connect(SOCKET)
            .with_context(|| format!("cannot connect to xenstore at {SOCKET}: is this the control domain?"))?;
        Ok(Self { socket, has_event: false })
    }

    /// The value of a node, or `None` if it does not exist.
    pub fn read(&mut self, path: &str) -> Result<Option<String>> {
        self.read_in(0, path)
    }

    fn read_in(&mut self, transaction: u32, path: &str) -> Result<Option<String>> {
        match self.request(message::READ, transaction, &[path.as_bytes(), b"\0"])? {
            Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            Err(name) if name == error::NO_ENTRY => Ok(None),
            Err(name) => bail!("xenstore cannot read {path}: {name}"),
        }
    }

    /// The names of the nodes below a node; none if it does not exist.
    pub fn list(&mut self, path: &str) -> Result<Vec<String>> {
        match self.request(message::DIRECTORY, 0, &[path.as_bytes(), b"\0"])? {
            Ok(names) => Ok(names
                .split(|&byte| byte == 0)
                .filter(|name| !name.is_empty())
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()),
            Err(name) if name == error::NO_ENTRY => Ok(Vec::new()),
            Err(name) => bail!("xenstore cannot list {path}: {name}"),
        }
    }

    /// Writes a node.
    pub fn write(&mut self, path: &str, value: &str) -> Result<()> {
        match self.request(message::WRITE, 0, &[path.as_bytes(), b"\0", value.as_bytes()])? {
            Ok(_) => Ok(()),
            Err(name) => bail!("xenstore cannot write {path}: {name}"),
        }
    }

    /// Writes `new` if the node's value is `old`, in one step. Returns whether it was.
    pub fn replace(&mut self, path: &str, old: &str, new: &str) -> Result<bool> {
        loop {
            let transaction = self
                .request(message::TRANSACTION_START, 0, &[b"\0"])?
                .map_err(|name| anyhow::anyhow!("xenstore cannot start a transaction: {name}"))?;
            let transaction = String::from_utf8_lossy(&transaction).trim_end_matches('\0').parse()?;
            let is_old = self.read_in(transaction, path)?.as_deref() == Some(old);
            if is_old {
                let written = self.request(message::WRITE, transaction, &[path.as_bytes(), b"\0", new.as_bytes()])?;
                ensure!(written.is_ok(), "xenstore cannot write {path}");
            }
            let commit: &[u8] = if is_old { b"T\0" } else { b"F\0" };
            match self.request(message::TRANSACTION_END, transaction, &[commit])? {
                Ok(_) => return Ok(is_old),
                Err(name) if name == error::AGAIN => {}
                Err(name) => bail!("xenstore cannot end a transaction: {name}"),
            }
        }
    }

    /// Watches a node, or `@releaseDomain`, which changes when a domain shuts down or is gone.
    pub fn watch(&mut self, path: &str) -> Result<()> {
        match self.request(message::WATCH, 0, &[path.as_bytes(), b"\0", path.as_bytes(), b"\0"])? {
            Ok(_) => Ok(()),
            Err(name) => bail!("xenstore cannot watch {path}: {name}"),
        }
    }

    /// Waits until something that is watched has changed, or until `end`. Returns whether it has.
    pub fn wait(&mut self, end: Instant) -> Result<bool> {
        loop {
            if std::mem::take(&mut self.has_event) {
                return Ok(true);
            }
            let time = end.saturating_duration_since(Instant::now());
            if time.is_zero() {
                return Ok(false);
            }
            let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut socket, Some(&Timespec::try_from(time)?)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => {
                    let (kind, _) = self.receive()?;
                    ensure!(kind == message::WATCH_EVENT, "unexpected message from xenstore");
                    self.has_event = true;
                }
                Err(error) => return Err(error).context("xenstore cannot be waited for"),
            }
        }
    }

    /// Tells the daemon that a suspended domain continues, so that it watches for its next end.
    pub fn resume(&mut self, domain: u32) -> Result<()> {
        match self.request(message::RESUME, 0, &[domain.to_string().as_bytes(), b"\0"])? {
            Ok(_) => Ok(()),
            Err(name) => bail!("xenstore cannot resume domain {domain}: {name}"),
        }
    }

    /// Sends a request; returns the answer's payload, or the name of the error.
    fn request(&mut self, kind: u32, transaction: u32, parts: &[&[u8]]) -> Result<Result<Vec<u8>, String>> {
        let payload = parts.concat();
        let length = u32::try_from(payload.len())?;
        ensure!(length <= limit::PAYLOAD_MAX, "the request to xenstore is too long");
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        for number in [kind, 0, transaction, length] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(payload);
        self.socket.write_all(&bytes).context("xenstore cannot be written to")?;
        loop {
            let (answer, payload) = self.receive()?;
            match answer {
                message::WATCH_EVENT => self.has_event = true,
                message::ERROR => {
                    return Ok(Err(String::from_utf8_lossy(&payload).trim_end_matches('\0').to_owned()));
                }
                _ if answer == kind => return Ok(Ok(payload)),
                other => bail!("unexpected answer {other} of xenstore to request {kind}"),
            }
        }
    }

    /// Receives a message: its type and its payload.
    fn receive(&mut self) -> Result<(u32, Vec<u8>)> {
        let mut header = [0; HEADER];
        self.socket.read_exact(&mut header).context("xenstore cannot be read")?;
        let [a, b, c, d, .., e, f, g, h] = header;
        let length = u32::from_le_bytes([e, f, g, h]);
        ensure!(length <= limit::PAYLOAD_MAX, "a message of xenstore is too long");
        let mut payload = vec![0; usize::try_from(length)?];
        self.socket.read_exact(&mut payload).context("xenstore cannot be read")?;
        Ok((u32::from_le_bytes([a, b, c, d]), payload))
    }
}
