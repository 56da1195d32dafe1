//! Several connections for the records of one link. Each is a link of its own to another `paravane
//! receive`, which hands the frames on to the one that receives the guest, through a socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ends::Input;
use super::frame::Frame;
use super::message::Message;
use super::{Link, Queue};

/// Frames that may wait for a connection.
const WAITING: usize = 1;

/// How records are sent: shared by the connections.
#[derive(Debug, Default)]
pub(super) struct Manner {
    pub(super) compress: bool,
    /// Bytes per second.
    bandwidth: Option<u64>,
    /// When the next frame may be sent, if there is a limit.
    next: Mutex<Option<Instant>>,
    /// Bytes that have been sent.
    sent: AtomicU64,
}

impl Manner {
    pub(super) fn new(compress: bool, bandwidth: Option<u64>) -> Self {
        Self { compress, bandwidth, ..Self::default() }
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until this many bytes may be sent, and counts them.
    pub(super) fn pass(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        let Some(time) = self.bandwidth.and_then(|rate| bytes.saturating_mul(1_000_000).checked_div(rate)) else {
            return;
        };
        let now = Instant::now();
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let (begin, after) = turn(*next, now, Duration::from_micros(time));
            *next = Some(after);
            begin
        };
        thread::sleep(begin.saturating_duration_since(now));
    }
}

/// When a frame may be sent that takes this time, and when the one after it.
fn turn(next: Option<Instant>, now: Instant, time: Duration) -> (Instant, Instant) {
    let begin = next.unwrap_or(now).max(now);
    (begin, begin + time)
}

/// A connection for records at the sending side.
pub(super) struct Lane {
    queue: SyncSender<(u64, Vec<u8>)>,
    sender: JoinHandle<Result<()>>,
}

impl Lane {
    pub(super) fn new(link: Link, manner: Arc<Manner>) -> Self {
        let (queue, records) = sync_channel(WAITING);
        let sender = thread::spawn(move || send(&link, &manner, &records));
        Self { queue, sender }
    }

    /// Sends records, when the connection has taken those before.
    pub(super) fn send(&self, number: u64, compact: Vec<u8>) -> Result<()> {
        self.queue.send((number, compact)).context("one of the links to the other host broke")
    }

    /// Ends the connection after all records have been sent.
    pub(super) fn close(self) -> Result<()> {
        drop(self.queue);
        self.sender.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread has ended")))
    }
}

fn send(link: &Link, manner: &Manner, records: &Receiver<(u64, Vec<u8>)>) -> Result<()> {
    for (number, compact) in records {
        link.write_records(number, compact, manner)?;
    }
    link.send(&Message::Done)
}

/// The socket at which the receiving process takes further connections.
pub struct Meeting {
    path: PathBuf,
}

impl Meeting {
    /// Opens the socket; the next `count` connections belong to `link`.
    pub fn open(path: &Path, link: &Link, count: u32) -> Result<Self> {
        let socket = UnixListener::bind(path).with_context(|| format!("cannot open {}", path.display()))?;
        let queue = link.queue.clone();
        thread::spawn(move || {
            for _ in 0..count {
                let Ok((socket, _)) = socket.accept() else { return };
                let queue = queue.clone();
                thread::spawn(move || take(socket.into(), &queue));
            }
        });
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Hands frames on until the other side says that there are no more.
fn take(socket: OwnedFd, queue: &Queue) {
    let mut input = Input(socket);
    loop {
        let frame = Frame::read(&mut input);
        let is_last = frame.is_err();
        if matches!(frame, Ok(Frame::Message(Message::Done))) || queue.send(frame).is_err() || is_last {
            return;
        }
    }
}

/// Hands the records of `link` to the process that waits at the socket.
pub fn forward(link: &mut Link, path: &Path) -> Result<()> {
    let socket = UnixStream::connect(path).with_context(|| format!("cannot connect to {}", path.display()))?;
    let mut output = super::ends::Output::new(socket.into(), super::PATIENCE)?;
    link.send(&Message::Accepted)?;
    loop {
        let frame = link.unordered()?;
        output.send(&frame)?;
        if frame == Frame::Message(Message::Done) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_wait_for_those_before_them_and_idle_time_is_not_saved() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let (first, next) = turn(None, now, 2 * second);
        assert_eq!((first, next), (now, now + 2 * second));
        assert_eq!(turn(Some(next), now, second), (now + 2 * second, now + 3 * second));
        assert_eq!(turn(Some(next), now + 9 * second, second), (now + 9 * second, now + 10 * second));
    }
}
