//! The ring from a guest's side, including hostile guests.

use abi::xen::DomainId;
use abi::xenstore::{MessageHeader, RING_SIZE, connection as connection_state, message, ring_error};
use alloc::string::String;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use machine::frames::SharedPage;
use zerocopy::{FromBytes, IntoBytes};

use super::connection::Connection;
use super::session::Session;
use super::tree::Tree;
use crate::{domain, testing};

const REQUEST_CONSUMER: usize = 2048;
const REQUEST_PRODUCER: usize = 2052;
const RESPONSE_CONSUMER: usize = 2056;
const RESPONSE_PRODUCER: usize = 2060;
const CONNECTION: usize = 2068;
const ERROR: usize = 2072;

/// A guest at its end of the ring.
struct Guest {
    page: SharedPage,
    connection: Connection,
    session: Session,
    answers: Vec<u8>,
}

impl Guest {
    fn new() -> Self {
        testing::start_machine();
        let page = domain::new_shared_page(DomainId(7)).expect("a free frame");
        let mut tree = Tree::empty(String::from("/local/domain/7"));
        tree.describe("name", "web");
        for number in 0..300 {
            tree.describe(&alloc::format!("long/entry{number:04}"), "");
        }
        let session = Session::new(DomainId(7), tree);
        Self { connection: Connection::new(page.again()), page, session, answers: Vec::new() }
    }

    fn index(&self, offset: usize) -> u32 {
        self.page.atomic_u32(offset).load(Ordering::SeqCst)
    }

    fn set(&self, offset: usize, value: u32) {
        self.page.atomic_u32(offset).store(value, Ordering::SeqCst);
    }

    fn put(&self, bytes: &[u8]) {
        for &byte in bytes {
            let producer = self.index(REQUEST_PRODUCER);
            assert!(producer.wrapping_sub(self.index(REQUEST_CONSUMER)) < RING_SIZE as u32, "no room");
            self.page.atomic_u8(producer as usize % RING_SIZE).store(byte, Ordering::SeqCst);
            self.set(REQUEST_PRODUCER, producer.wrapping_add(1));
        }
    }

    fn fetch(&mut self) {
        while self.index(RESPONSE_CONSUMER) != self.index(RESPONSE_PRODUCER) {
            let consumer = self.index(RESPONSE_CONSUMER);
            let byte = self.page.atomic_u8(RING_SIZE + consumer as usize % RING_SIZE).load(Ordering::SeqCst);
            self.answers.push(byte);
            self.set(RESPONSE_CONSUMER, consumer.wrapping_add(1));
        }
    }

    fn serve(&mut self) -> bool {
        self.connection.serve(&mut self.session).expect("a guest that keeps the protocol")
    }

    /// The replies read so far, parsed.
    fn messages(&self) -> Vec<(u32, u32, Vec<u8>)> {
        let mut rest = self.answers.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (header, behind) = MessageHeader::read_from_prefix(rest).expect("a whole header");
            let (payload, behind) = behind.split_at(header.length as usize);
            found.push((header.kind, header.request_id, payload.to_vec()));
            rest = behind;
        }
        found
    }
}

fn request(kind: u32, request_id: u32, payload: &[u8]) -> Vec<u8> {
    let header = MessageHeader { kind, request_id, transaction_id: 0, length: payload.len() as u32 };
    [header.as_bytes(), payload].concat()
}

#[test]
fn a_message_may_arrive_byte_by_byte_and_wrap_around() {
    let mut guest = Guest::new();
    for index in [REQUEST_CONSUMER, REQUEST_PRODUCER, RESPONSE_CONSUMER, RESPONSE_PRODUCER] {
        guest.set(index, u32::MAX - 9);
    }
    for byte in request(message::READ, 5, b"name\0") {
        guest.put(&[byte]);
        assert!(guest.serve());
    }
    guest.fetch();
    assert_eq!(guest.messages(), [(message::READ, 5, b"web".to_vec())]);
    assert!(!guest.serve());
}

#[test]
fn a_long_reply_is_sent_in_pieces_and_the_next_request_waits() {
    let mut guest = Guest::new();
    guest.put(&request(message::DIRECTORY, 1, b"long\0"));
    guest.put(&request(message::READ, 2, b"name\0"));
    let mut rounds = 0;
    while guest.serve() {
        guest.fetch();
        rounds += 1;
    }
    assert!(rounds >= 3);
    let messages = guest.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].2.len(), 300 * 10);
    assert_eq!(messages[1], (message::READ, 2, b"web".to_vec()));
}

#[test]
fn invalid_indices_stop_the_service_until_the_guest_reconnects() {
    for index in [REQUEST_PRODUCER, RESPONSE_PRODUCER] {
        let mut guest = Guest::new();
        guest.set(index, 1025);
        assert!(guest.connection.serve(&mut guest.session).is_err());
        assert_eq!(guest.index(ERROR), ring_error::RINGIDX);
        assert_eq!(guest.connection.serve(&mut guest.session), Ok(false));
        guest.set(CONNECTION, connection_state::RECONNECT);
        assert!(guest.serve());
        assert_eq!((guest.index(CONNECTION), guest.index(ERROR)), (connection_state::CONNECTED, ring_error::NONE));
        guest.put(&request(message::READ, 9, b"name\0"));
        assert!(guest.serve());
        guest.fetch();
        assert_eq!(guest.messages(), [(message::READ, 9, b"web".to_vec())]);
    }
}

#[test]
fn a_message_that_is_too_long_is_refused_at_once() {
    let mut guest = Guest::new();
    let header = MessageHeader { kind: message::WRITE, request_id: 1, transaction_id: 0, length: 4097 };
    guest.put(header.as_bytes());
    assert!(guest.connection.serve(&mut guest.session).is_err());
    assert_eq!(guest.index(ERROR), ring_error::PROTO);
}

#[test]
fn the_longest_message_is_accepted() {
    let mut guest = Guest::new();
    let bytes = request(message::READ, 3, &[b'a'; 4096]);
    for piece in bytes.chunks(1000) {
        guest.put(piece);
        guest.serve();
    }
    guest.fetch();
    assert_eq!(guest.messages(), [(message::ERROR, 3, b"EINVAL\0".to_vec())]);
}

#[test]
fn random_rings_do_no_harm() {
    let mut guest = Guest::new();
    let mut seed = 0x1234_5678_9abc_def0u64;
    for _ in 0..testing::rounds(20_000) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (seed >> 33) as usize % 4096;
        let byte = if seed & 1 << 20 == 0 { (seed >> 24) as u8 } else { (seed >> 24) as u8 & 15 };
        guest.page.atomic_u8(at).store(byte, Ordering::Relaxed);
        let _ = guest.connection.serve(&mut guest.session);
        if seed & 0xff00_0000_0000 == 0 {
            guest.set(CONNECTION, connection_state::RECONNECT);
        }
    }
}
