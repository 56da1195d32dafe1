//! The connection of the two `paravane` processes of a migration.
//!
//! A frame is the length of its payload (four bytes, little-endian), its kind (one byte), and the
//! payload. A message is JSON; records are items of [`crate::stream::compact`], as they are or
//! compressed with zstd. Each side sends a sign of life every few seconds, so that a side that
//! hears nothing for the length of its patience knows that the link is broken. The other side is
//! not trusted: frames have limits, and a compressed frame has one for its contents as well.

mod ends;
mod frame;
pub mod lanes;
mod message;
mod order;
pub mod transport;

use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use ends::{Input, Output};
pub(crate) use frame::ENOUGH;
pub use frame::Frame;
use lanes::{Lane, Manner};
pub use message::{Answer, Begin, Finding, Hello, Message, Needs, PROTOCOL, Question, Severity};
use order::Order;

/// After this time without a sign of life the link counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Frames that may wait to be handled.
const QUEUE: usize = 4;

/// Where the threads that read put frames.
type Queue = SyncSender<Result<Frame>>;

/// A connection to the other side.
pub struct Link {
    output: Arc<Mutex<Output>>,
    input: Receiver<Result<Frame>>,
    /// For further connections, whose frames are of this link.
    queue: Queue,
    order: Order,
    is_closed: bool,
    patience: Duration,
    manner: Arc<Manner>,
    lanes: Vec<Lane>,
    /// Frames with records that have been sent.
    numbered: u64,
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
        let reading = queue.clone();
        thread::spawn(move || {
            let mut input = Input(input);
            loop {
                let frame = Frame::read(&mut input);
                let is_last = frame.is_err();
                if reading.send(frame).is_err() || is_last {
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
        Ok(Self {
            output,
            input: frames,
            queue,
            order: Order::default(),
            is_closed: false,
            patience,
            manner: Arc::default(),
            lanes: Vec::new(),
            numbered: 0,
            _life: life,
            _carrier: Box::new(carrier),
        })
    }

    /// Compresses records, and limits their bytes per second, from now on.
    pub fn tune(&mut self, compress: bool, bandwidth: Option<u64>) {
        self.manner = Arc::new(Manner::new(compress, bandwidth));
    }

    /// Sends records over this link as well; if there are such, over them only.
    pub fn widen(&mut self, link: Self) {
        self.lanes.push(Lane::new(link, self.manner.clone()));
    }

    /// Ends the further links, after all records have been sent.
    pub fn narrow(&mut self) -> Result<()> {
        self.lanes.drain(..).try_for_each(Lane::close)
    }

    /// Bytes of records sent so far, as they are on the wire.
    pub fn sent(&self) -> u64 {
        self.manner.sent()
    }

    /// Frames with records that have been sent so far.
    pub fn numbered(&self) -> u64 {
        self.numbered
    }

    /// Sends a message.
    pub fn send(&self, message: &Message) -> Result<()> {
        locked(&self.output).write(&Frame::Message(message.clone()).bytes()?)
    }

    /// Sends compact items.
    pub fn send_records(&mut self, compact: Vec<u8>) -> Result<()> {
        let number = self.numbered;
        self.numbered += 1;
        let count = u64::try_from(self.lanes.len())?;
        match number.checked_rem(count).and_then(|lane| self.lanes.get(usize::try_from(lane).ok()?)) {
            Some(lane) => lane.send(number, compact),
            None => self.write_records(number, compact, &self.manner),
        }
    }

    fn write_records(&self, number: u64, compact: Vec<u8>, manner: &Manner) -> Result<()> {
        let bytes = Frame::records(number, compact, manner.compress)?;
        manner.pass(bytes.len());
        locked(&self.output).write(&bytes)
    }

    /// Waits for the next frame, in the order in which they were sent; fails if the link is broken.
    pub fn receive(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.order.next() {
                return Ok(frame);
            }
            let frame = self.unordered()?;
            self.order.take(frame)?;
        }
    }

    /// Waits for the next frame as it arrives.
    fn unordered(&mut self) -> Result<Frame> {
        ensure!(!self.is_closed, "the link to the other host is closed");
        loop {
            match self.input.recv_timeout(self.patience) {
                Ok(Ok(Frame::Message(Message::Alive))) => {}
                Ok(frame) => return self.noted(frame),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("nothing was heard from the other host for {} seconds", self.patience.as_secs())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the link to the other host is closed"),
            }
        }
    }

    /// Notes the end of the link.
    fn noted(&mut self, frame: Result<Frame>) -> Result<Frame> {
        self.is_closed = frame.is_err();
        frame
    }

    /// Waits for the next message; a failure that the other side reports is an error.
    pub fn message(&mut self) -> Result<Message> {
        match self.receive()? {
            Frame::Message(Message::Failed(reason)) => bail!("the other host reports: {reason}"),
            Frame::Message(message) => Ok(message),
            Frame::Records { .. } => bail!("the other host sends records where a message was expected"),
        }
    }

    /// A message that has arrived already, if there is one.
    pub fn poll(&mut self) -> Result<Option<Message>> {
        ensure!(!self.is_closed, "the link to the other host is closed");
        loop {
            match self.input.try_recv() {
                Ok(Ok(Frame::Message(Message::Alive))) => {}
                Ok(frame) => match self.noted(frame)? {
                    Frame::Message(message) => return Ok(Some(message)),
                    Frame::Records { .. } => bail!("the other host sends records where a message was expected"),
                },
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => bail!("the link to the other host is closed"),
            }
        }
    }

    /// Exchanges greetings; fails if the other side speaks another version of the protocol.
    pub fn greet(&mut self, own: Hello) -> Result<Hello> {
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
