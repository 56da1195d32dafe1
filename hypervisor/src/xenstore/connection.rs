//! The ring of the store: assembles requests from pieces, and queues replies until there is room.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use abi::xenstore::{MessageHeader, RING_SIZE, StoreInterface, connection, limit, ring_error, server_feature};
use alloc::vec::Vec;
use machine::frames::SharedPage;
use machine::integers::saturating_u32;
use machine::speculation::MaskedIndex;
use zerocopy::FromBytes;

use super::session::Session;
use crate::console::ring::{ByteRing, Corrupt};

const REQUESTS: ByteRing = ByteRing {
    data: offset_of!(StoreInterface, request),
    size: saturating_u32(RING_SIZE),
    consumer: offset_of!(StoreInterface, request_consumer),
    producer: offset_of!(StoreInterface, request_producer),
};
const RESPONSES: ByteRing = ByteRing {
    data: offset_of!(StoreInterface, response),
    size: saturating_u32(RING_SIZE),
    consumer: offset_of!(StoreInterface, response_consumer),
    producer: offset_of!(StoreInterface, response_producer),
};

const HEADER: usize = size_of::<MessageHeader>();
/// Maximum number of requests served per notification.
const AT_ONCE: usize = 128;

/// The guest has violated the protocol, with a code of [`ring_error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken(u32);

impl From<Corrupt> for Broken {
    fn from(_: Corrupt) -> Self {
        Self(ring_error::RINGIDX)
    }
}

/// The ring, and messages that are partially transferred.
pub(super) struct Connection {
    page: SharedPage,
    /// The bytes of an incomplete request.
    input: Vec<u8>,
    /// Replies, of which the bytes from `sent` on wait for room.
    output: Vec<u8>,
    sent: usize,
    broken: bool,
}

impl Connection {
    pub(super) fn new(page: SharedPage) -> Self {
        let features = server_feature::RECONNECTION | server_feature::ERROR;
        page.atomic_u32(offset_of!(StoreInterface, server_features)).store(features, Ordering::SeqCst);
        Self { page, input: Vec::new(), output: Vec::new(), sent: 0, broken: false }
    }

    /// Serves the guest's requests and sends replies into the room that it has made. Returns `true`
    /// if the guest must be notified.
    ///
    /// # Errors
    /// The guest has just violated the protocol. It is not served until it reconnects.
    pub(super) fn serve(&mut self, session: &mut Session) -> Result<bool, Broken> {
        let state = self.page.atomic_u32(offset_of!(StoreInterface, connection));
        if state.load(Ordering::SeqCst) == connection::RECONNECT {
            session.reset();
            self.reconnect();
            return Ok(true);
        }
        if self.broken {
            return Ok(false);
        }
        self.exchange(session).inspect_err(|broken| {
            self.broken = true;
            self.set(offset_of!(StoreInterface, error), broken.0);
        })
    }

    fn exchange(&mut self, session: &mut Session) -> Result<bool, Broken> {
        let mut moved = self.send()?;
        for _ in 0..AT_ONCE {
            // the next request waits until all replies are on the ring
            if !self.output.is_empty() {
                break;
            }
            let Some(header) = self.receive(&mut moved)? else { break };
            session.request(&header, self.input.part(HEADER..).unwrap_or_default(), &mut self.output);
            self.input.clear();
            moved |= self.send()?;
        }
        Ok(moved)
    }

    /// Reads bytes from the ring until a request is complete.
    fn receive(&mut self, moved: &mut bool) -> Result<Option<MessageHeader>, Broken> {
        loop {
            let header = MessageHeader::read_from_prefix(&self.input).ok().map(|(header, _)| header);
            let wanted = match header {
                Some(header) if header.length > limit::PAYLOAD_MAX => return Err(Broken(ring_error::PROTO)),
                Some(header) => HEADER + header.length as usize,
                None => HEADER,
            };
            let missing = wanted - self.input.len();
            if missing == 0 {
                return Ok(header);
            }
            let mut bytes = [0; RING_SIZE];
            let piece = bytes.part_mut(..missing.min(RING_SIZE)).unwrap_or_default();
            let length = REQUESTS.take(&self.page, piece)?;
            if length == 0 {
                return Ok(None);
            }
            self.input.extend(bytes.iter().take(length));
            *moved = true;
        }
    }

    /// Writes replies to the ring while there is room. Returns whether any bytes were written.
    fn send(&mut self) -> Result<bool, Broken> {
        let length = RESPONSES.put(&self.page, self.output.part(self.sent..).unwrap_or_default())?;
        self.sent += length;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(RING_SIZE);
            self.sent = 0;
        }
        Ok(length != 0)
    }

    fn reconnect(&mut self) {
        self.input.clear();
        self.output = Vec::new();
        self.sent = 0;
        self.broken = false;
        for ring in [REQUESTS, RESPONSES] {
            self.set(ring.consumer, 0);
            self.set(ring.producer, 0);
        }
        self.set(offset_of!(StoreInterface, error), ring_error::NONE);
        self.set(offset_of!(StoreInterface, connection), connection::CONNECTED);
    }

    fn set(&self, offset: usize, value: u32) {
        self.page.atomic_u32(offset).store(value, Ordering::SeqCst);
    }
}
