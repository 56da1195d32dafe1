//! The store's ring: whole messages out of pieces, and answers that wait for room.

use core::mem::offset_of;
use core::sync::atomic::Ordering;

use abi::xenstore::{MessageHeader, RING_SIZE, StoreInterface, connection, limit, ring_error, server_feature};
use alloc::vec::Vec;
use machine::frames::SharedPage;
use machine::integers::saturating_u32;
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
/// Requests that are served at one notification.
const AT_ONCE: usize = 128;

/// The guest broke the protocol: one of [`ring_error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken(u32);

impl From<Corrupt> for Broken {
    fn from(_: Corrupt) -> Self {
        Self(ring_error::RINGIDX)
    }
}

/// The ring, and what is on its way through it.
pub(super) struct Connection {
    page: SharedPage,
    /// The bytes of a request of which the rest is to come.
    input: Vec<u8>,
    /// Answers from `sent` on have not found room yet.
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

    /// Serves what the guest has asked for and takes the room it has made. `true` if there is something to tell it.
    ///
    /// # Errors
    /// When the guest has just broken the protocol; nothing is served until it connects anew.
    pub(super) fn serve(&mut self, session: &mut Session) -> Result<bool, Broken> {
        let state = self.page.atomic_u32(offset_of!(StoreInterface, connection));
        if state.load(Ordering::SeqCst) == connection::RECONNECT {
            session.reset();
            self.connect_anew();
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
            // the next request waits until the answers to the last are on the ring
            if !self.output.is_empty() {
                break;
            }
            let Some(header) = self.receive(&mut moved)? else { break };
            session.request(&header, self.input.get(HEADER..).unwrap_or_default(), &mut self.output);
            self.input.clear();
            moved |= self.send()?;
        }
        Ok(moved)
    }

    /// Takes bytes from the ring until a request is whole.
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
            let piece = bytes.get_mut(..missing.min(RING_SIZE)).unwrap_or_default();
            let length = REQUESTS.take(&self.page, piece)?;
            if length == 0 {
                return Ok(None);
            }
            self.input.extend(bytes.iter().take(length));
            *moved = true;
        }
    }

    /// Puts answers on the ring as far as there is room; whether it did.
    fn send(&mut self) -> Result<bool, Broken> {
        let length = RESPONSES.put(&self.page, self.output.get(self.sent..).unwrap_or_default())?;
        self.sent += length;
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(RING_SIZE);
            self.sent = 0;
        }
        Ok(length != 0)
    }

    fn connect_anew(&mut self) {
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
