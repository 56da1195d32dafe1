//! A client of `xenstored` that polls instead of watching.

use core::fmt::{Display, Write};
use core::mem::offset_of;
use core::sync::atomic::{Ordering::SeqCst, fence};

use kernel::abi::xenstore::{MessageHeader, RING_SIZE, StoreInterface, message};
use kernel::memory::{address_of, peek, poke, start_info, zeroed};
use zerocopy::{FromBytes, IntoBytes};

use crate::wait;

const HEADER: usize = size_of::<MessageHeader>();
const SIZE: u32 = RING_SIZE as u32;

/// A short text.
pub(crate) struct Text {
    bytes: [u8; 128],
    length: usize,
}

impl Text {
    pub(crate) fn new(arguments: core::fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; 128], length: 0 };
        text.write_fmt(arguments).expect("short text");
        text
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.length]).expect("text")
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let place = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(core::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The connection to `xenstored`.
pub(crate) struct Store {
    page: u64,
    port: u32,
}

impl Store {
    pub(crate) fn open() -> Self {
        Self { page: address_of(start_info().store_mfn), port: start_info().store_event_channel }
    }

    /// Reads a node.
    pub(crate) fn read(&mut self, path: &str) -> Option<Text> {
        self.request(message::READ, &[path.as_bytes(), b"\0"])
    }

    pub(crate) fn write(&mut self, path: &str, value: &dyn Display) {
        let value = Text::new(format_args!("{value}"));
        let done = self.request(message::WRITE, &[path.as_bytes(), b"\0", value.as_str().as_bytes()]);
        assert!(done.is_some(), "{path} cannot be written");
    }

    /// Waits until a back end has a state.
    pub(crate) fn wait_for_state(&mut self, back_end: &str, state: &str) {
        let path = Text::new(format_args!("{back_end}/state"));
        wait::until(self.port, "the back end's state", || {
            self.read(path.as_str()).filter(|found| found.as_str() == state)
        });
    }

    /// Makes a request and returns the reply; `None` for an error.
    fn request(&mut self, kind: u32, parts: &[&[u8]]) -> Option<Text> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
        let header = MessageHeader { kind, length, ..zeroed() };
        self.send(header.as_bytes());
        parts.iter().for_each(|part| self.send(part));
        let mut header = [0; HEADER];
        self.receive(&mut header);
        let header = MessageHeader::read_from_bytes(&header).expect("a header");
        let mut text = Text { bytes: [0; 128], length: header.length as usize };
        assert!(text.length <= text.bytes.len(), "a reply of {} bytes", text.length);
        let length = text.length;
        self.receive(&mut text.bytes[..length]);
        (header.kind == kind).then_some(text)
    }

    fn word(&self, offset: usize) -> u64 {
        self.page + offset as u64
    }

    fn send(&mut self, bytes: &[u8]) {
        let produced = self.word(offset_of!(StoreInterface, request_producer));
        let consumed = self.word(offset_of!(StoreInterface, request_consumer));
        for &byte in bytes {
            let at: u32 = peek(produced);
            wait::until(self.port, "room for a request", || (at.wrapping_sub(peek(consumed)) < SIZE).then_some(()));
            poke(self.word(offset_of!(StoreInterface, request)) + u64::from(at % SIZE), byte);
            fence(SeqCst);
            poke(produced, at.wrapping_add(1));
        }
        wait::notify(self.port);
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        let produced = self.word(offset_of!(StoreInterface, response_producer));
        let consumed = self.word(offset_of!(StoreInterface, response_consumer));
        for byte in bytes {
            let at: u32 = peek(consumed);
            wait::until(self.port, "the reply", || (at != peek::<u32>(produced)).then_some(()));
            *byte = peek(self.word(offset_of!(StoreInterface, response)) + u64::from(at % SIZE));
            fence(SeqCst);
            poke(consumed, at.wrapping_add(1));
        }
        wait::notify(self.port);
    }
}
