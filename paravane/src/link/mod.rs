//! The connection of the two `paravane` processes of a migration.
//!
//! A frame is the length of its payload (four bytes, little-endian), its kind (one byte), and the
//! payload. A message is JSON; records are items of [`crate::stream::compact`], as they are or
//! compressed with zstd. Each side sends a sign of life every few seconds, so that a side that
//! hears nothing for the length of its patience knows that the link is broken. The other side is
//! not trusted: frames have limits, and a compressed frame has one for its contents as well.

mod ends;
mod frame;
mod message;
pub mod transport;

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use ends::{Input, Output};
pub(crate) use frame::ENOUGH;
pub use frame::Frame;
pub use message::{Answer, Begin, Finding, Hello, Message, Needs, PROTOCOL, Question, Severity};

/// After this time without a sign of life the link counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Frames that may wait to be handled.
const QUEUE: usize = 4;

/// A connection to the other side.
pub struct Link {
    output: Arc<Mutex<Output>>,
    input: Receiver<Result<Frame>>,
    patience: Duration,
    compress: bool,
    /// Bytes per second that records may take.
    bandwidth: Option<u64>,
    /// Bytes of frames with records that have been sent.
    sent: u64,
    /// Ends the signs of life when it is dropped.
    _life: Sender<()>,
    /// What carries the link, and is dropped after its ends.
    _carrier: Box<dyn Send>,
}

impl Link {
    /// A link over two pipes or a socket, which `carrier` keeps connected. Reading happens on a
    /// thread of its own.
    pub fn new(input: OwnedFd, output: OwnedFd, patience: Duration, carrier: impl Send + 'static) -> Result<Self> {
        let output = Arc::new(Mutex::new(Output::new(output, patience)?));
        let (queue, frames) = mpsc::sync_channel(QUEUE);
        thread::spawn(move || {
            let mut input = Input(input);
            loop {
                let frame = Frame::read(&mut input);
                let is_last = frame.is_err();
                if queue.send(frame).is_err() || is_last {
                    return;
                }
            }
        });
        let (life, end) = mpsc::channel::<()>();
        let weak = Arc::downgrade(&output);
        thread::spawn(move || {
            while end.recv_timeout(patience / 12) == Err(RecvTimeoutError::Timeout) {
                let Some(output) = weak.upgrade() else { return };
                let sent = locked(&output).send(&Frame::Message(Message::Alive));
                if sent.is_err() {
                    return;
                }
            }
        });
        let (compress, bandwidth, sent) = (false, None, 0);
        Ok(Self {
            output,
            input: frames,
            patience,
            compress,
            bandwidth,
            sent,
            _life: life,
            _carrier: Box::new(carrier),
        })
    }

    /// Compresses records, and limits their bytes per second, from now on.
    pub fn tune(&mut self, compress: bool, bandwidth: Option<u64>) {
        (self.compress, self.bandwidth) = (compress, bandwidth);
    }

    /// Bytes of records sent so far, as they are on the wire.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a message.
    pub fn send(&self, message: &Message) -> Result<()> {
        locked(&self.output).send(&Frame::Message(message.clone()))
    }

    /// Sends compact items.
    pub fn send_records(&mut self, compact: Vec<u8>) -> Result<()> {
        let begin = Instant::now();
        let bytes = Frame::records(compact, self.compress)?;
        locked(&self.output).write(&bytes)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.sent = self.sent.saturating_add(length);
        if let Some(least) = self.bandwidth.and_then(|rate| length.saturating_mul(1_000_000).checked_div(rate)) {
            thread::sleep(Duration::from_micros(least).saturating_sub(begin.elapsed()));
        }
        Ok(())
    }

    /// Waits for the next frame; fails if the link is broken.
    pub fn receive(&self) -> Result<Frame> {
        loop {
            match self.input.recv_timeout(self.patience) {
                Ok(Ok(Frame::Message(Message::Alive))) => {}
                Ok(frame) => return frame,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("nothing was heard from the other host for {} seconds", self.patience.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the link to the other host is closed"),
            }
        }
    }

    /// Waits for the next message; a failure that the other side reports is an error.
    pub fn message(&self) -> Result<Message> {
        match self.receive()? {
            Frame::Message(Message::Failed(reason)) => bail!("the other host reports: {reason}"),
            Frame::Message(message) => Ok(message),
            Frame::Records(_) => bail!("the other host sends records where a message was expected"),
        }
    }

    /// A message that has arrived already, if there is one.
    pub fn poll(&self) -> Result<Option<Message>> {
        loop {
            match self.input.try_recv() {
                Ok(Ok(Frame::Message(Message::Alive))) => {}
                Ok(Ok(Frame::Message(message))) => return Ok(Some(message)),
                Ok(Ok(Frame::Records(_))) => bail!("the other host sends records where a message was expected"),
                Ok(Err(error)) => return Err(error),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => bail!("the link to the other host is closed"),
            }
        }
    }

    /// Exchanges greetings; fails if the other side speaks another version of the protocol.
    pub fn greet(&self, own: Hello) -> Result<Hello> {
        self.send(&Message::Hello(own))?;
        match self.message().context("no 'paravane' answers at the other host")? {
            Message::Hello(other) if other.protocol == PROTOCOL => Ok(other),
            Message::Hello(other) => bail!(
                "'paravane' {} of {} speaks version {} of the protocol, this one {PROTOCOL}: \
                 install the same version on both hosts",
                other.version,
                other.host,
                other.protocol
            ),
            message => bail!("unexpected message: {message:?}"),
        }
    }
}

fn locked(output: &Mutex<Output>) -> std::sync::MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
