//! Requests and replies from a guest's side.

use abi::xenstore::{MessageHeader, message};
use std::string::String;
use std::vec::Vec;
use zerocopy::FromBytes;

use super::*;

fn session() -> Session {
    let mut tree = Tree::empty(String::from("/local/domain/7"));
    for (path, value) in [("name", "web"), ("memory/target", "1024"), ("control/shutdown", ""), ("device", "")] {
        tree.describe(path, value);
    }
    Session::new(DomainId(7), tree)
}

/// Sends one message. Returns the kinds and payloads of all replies.
fn talk(session: &mut Session, kind: u32, transaction_id: u32, payload: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let header = MessageHeader { kind, request_id: 42, transaction_id, length: payload.len() as u32 };
    let mut output = Vec::new();
    session.request(&header, payload, &mut output);
    let mut answers = Vec::new();
    let mut rest = output.as_slice();
    while !rest.is_empty() {
        let (header, behind) = MessageHeader::read_from_prefix(rest).expect("a whole header");
        assert_eq!(header.request_id, if header.kind == message::WATCH_EVENT { 0 } else { 42 });
        let (payload, behind) = behind.split_at(header.length as usize);
        answers.push((header.kind, payload.to_vec()));
        rest = behind;
    }
    answers
}

fn one(session: &mut Session, kind: u32, transaction: u32, payload: &[u8]) -> (u32, Vec<u8>) {
    let mut answers = talk(session, kind, transaction, payload);
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0)
}

fn failed(name: &str) -> (u32, Vec<u8>) {
    (message::ERROR, format!("{name}\0").into_bytes())
}

#[test]
fn nodes_are_read_and_listed() {
    let session = &mut session();
    assert_eq!(one(session, message::READ, 0, b"name\0"), (message::READ, b"web".to_vec()));
    assert_eq!(one(session, message::READ, 0, b"/local/domain/7/memory/target\0").1, b"1024");
    assert_eq!(one(session, message::READ, 0, b"nothing\0"), failed("ENOENT"));
    assert_eq!(one(session, message::DIRECTORY, 0, b"device\0"), (message::DIRECTORY, Vec::new()));
    assert_eq!(one(session, message::DIRECTORY, 0, b"memory\0").1, b"target\0");
    assert_eq!(one(session, message::GET_PERMS, 0, b"name\0").1, b"n0\0r7\0");
    assert_eq!(one(session, message::GET_PERMS, 0, b"control/shutdown\0").1, b"n7\0");
}

#[test]
fn malformed_requests_are_refused() {
    let session = &mut session();
    for payload in [&b""[..], b"name", b"na\0me\0", b"\xff\0", b"\0"] {
        assert_eq!(one(session, message::READ, 0, payload), failed("EINVAL"), "{payload:?}");
    }
    for payload in [&b""[..], b"name", b"name\0", b"name\0token", b"name\0a\0b\0"] {
        assert_eq!(one(session, message::WATCH, 0, payload), failed("EINVAL"), "{payload:?}");
    }
    for kind in [message::DIRECTORY_PART, message::WATCH_EVENT, message::ERROR, 20, 23, u32::MAX] {
        assert_eq!(one(session, kind, 0, b"name\0"), failed("ENOSYS"));
    }
    assert_eq!(one(session, message::READ, 5, b"name\0"), failed("ENOENT"));
    assert_eq!(one(session, message::GET_DOMAIN_PATH, 0, b"x\0"), failed("EINVAL"));
}

#[test]
fn a_guest_may_not_control() {
    let session = &mut session();
    for kind in [message::INTRODUCE, message::RELEASE, message::RESUME, message::SET_TARGET, message::CONTROL] {
        assert_eq!(one(session, kind, 0, b"1\0"), failed("EACCES"));
    }
    assert_eq!(one(session, message::WRITE, 0, b"name\0other"), failed("EACCES"));
    assert_eq!(one(session, message::MKDIR, 0, b"backend\0"), failed("EACCES"));
    assert_eq!(one(session, message::RM, 0, b"name\0"), failed("EACCES"));
}

#[test]
fn domains_are_named() {
    let session = &mut session();
    assert_eq!(one(session, message::GET_DOMAIN_PATH, 0, b"3\0").1, b"/local/domain/3\0");
    assert_eq!(one(session, message::IS_DOMAIN_INTRODUCED, 0, b"7\0").1, b"T\0");
    assert_eq!(one(session, message::IS_DOMAIN_INTRODUCED, 0, b"0\0").1, b"F\0");
}

#[test]
fn a_watch_fires_when_it_is_set_and_when_something_changes() {
    let session = &mut session();
    let answers = talk(session, message::WATCH, 0, b"control\0me\0");
    assert_eq!(answers[0], (message::WATCH, b"OK\0".to_vec()));
    assert_eq!(answers[1], (message::WATCH_EVENT, b"control\0me\0".to_vec()));
    assert_eq!(one(session, message::WATCH, 0, b"control\0me\0"), failed("EEXIST"));
    let answers = talk(session, message::WRITE, 0, b"control/feature-suspend\x001");
    assert_eq!(answers[1], (message::WATCH_EVENT, b"control/feature-suspend\0me\0".to_vec()));
    talk(session, message::WATCH, 0, b"/local/domain/7/control/x\0abs\0");
    let answers = talk(session, message::MKDIR, 0, b"control/x\0");
    assert_eq!(answers[2], (message::WATCH_EVENT, b"/local/domain/7/control/x\0abs\0".to_vec()));
    assert_eq!(one(session, message::MKDIR, 0, b"control/x\0").1, b"OK\0");
    assert_eq!(one(session, message::UNWATCH, 0, b"control\0me\0").1, b"OK\0");
    assert_eq!(one(session, message::UNWATCH, 0, b"control\0me\0"), failed("ENOENT"));
    assert_eq!(talk(session, message::WATCH, 0, b"@releaseDomain\0t\0").len(), 2);
    assert_eq!(one(session, message::RESET_WATCHES, 0, b"\0").1, b"OK\0");
    assert_eq!(one(session, message::RM, 0, b"control/x\0").1, b"OK\0");
}

#[test]
fn watches_have_a_quota() {
    let session = &mut session();
    let set = (0..1000).take_while(|n| talk(session, message::WATCH, 0, format!("data\0{n}\0").as_bytes()).len() == 2);
    assert_eq!(set.count(), MAX_WATCHES);
    session.reset();
    let token = "t".repeat(4000);
    let set =
        (0..10).take_while(|n| talk(session, message::WATCH, 0, format!("d{n}\0{token}\0").as_bytes()).len() == 2);
    assert_eq!(set.count(), 4);
}

#[test]
fn a_transaction_changes_all_or_nothing() {
    let session = &mut session();
    let start = |session: &mut Session| {
        let text = String::from_utf8(one(session, message::TRANSACTION_START, 0, b"\0").1).unwrap();
        text.trim_end_matches('\0').parse::<u32>().unwrap()
    };
    let id = start(session);
    assert_eq!(one(session, message::WRITE, id, b"control/shutdown\0poweroff").1, b"OK\0");
    assert_eq!(one(session, message::READ, 0, b"control/shutdown\0").1, b"");
    assert_eq!(one(session, message::READ, id, b"control/shutdown\0").1, b"poweroff");
    assert_eq!(one(session, message::TRANSACTION_END, id, b"T\0").1, b"OK\0");
    assert_eq!(one(session, message::READ, 0, b"control/shutdown\0").1, b"poweroff");
    assert_eq!(one(session, message::TRANSACTION_END, id, b"T\0"), failed("ENOENT"));

    let (first, second) = (start(session), start(session));
    one(session, message::WRITE, first, b"control/a\x001");
    one(session, message::WRITE, second, b"control/a\x002");
    assert_eq!(one(session, message::TRANSACTION_END, first, b"T\0").1, b"OK\0");
    assert_eq!(one(session, message::TRANSACTION_END, second, b"T\0"), failed("EAGAIN"));
    assert_eq!(one(session, message::READ, 0, b"control/a\0").1, b"1");

    let dropped = start(session);
    one(session, message::RM, dropped, b"control/a\0");
    assert_eq!(one(session, message::TRANSACTION_END, dropped, b"X\0"), failed("EINVAL"));
    assert_eq!(one(session, message::TRANSACTION_END, dropped, b"F\0").1, b"OK\0");
    assert_eq!(one(session, message::READ, 0, b"control/a\0").1, b"1");
}

#[test]
fn open_transactions_have_a_quota() {
    let session = &mut session();
    let open = (0..100).take_while(|_| one(session, message::TRANSACTION_START, 0, b"\0").0 != message::ERROR).count();
    assert_eq!(open, MAX_TRANSACTIONS);
}

#[test]
fn the_changes_of_a_transaction_have_a_quota() {
    let session = &mut session();
    let text = String::from_utf8(one(session, message::TRANSACTION_START, 0, b"\0").1).unwrap();
    let id = text.trim_end_matches('\0').parse::<u32>().unwrap();
    for _ in 0..10 * MAX_CHANGES {
        assert_eq!(one(session, message::WRITE, id, b"data/same\0x").1, b"OK\0");
    }
    assert_eq!(session.transactions[0].changes.len(), 1);
    let mut change = |path: &str| {
        let [write, remove] = [format!("{path}\0x"), format!("{path}\0")];
        one(session, message::WRITE, id, write.as_bytes()).0 != message::ERROR
            && one(session, message::RM, id, remove.as_bytes()).0 != message::ERROR
    };
    assert_eq!((0..1000).take_while(|number| change(&format!("data/{number}"))).count(), MAX_CHANGES - 1);
    assert_eq!(one(session, message::TRANSACTION_END, id, b"T\0").1, b"OK\0");

    one(session, message::TRANSACTION_START, 0, b"\0");
    let id = session.transactions[0].id;
    let long = "a".repeat(1000);
    let written = (0..64).take_while(|number| {
        let request = format!("data/{long}{number}\0");
        one(session, message::WRITE, id, request.as_bytes()).0 != message::ERROR
            && one(session, message::RM, id, request.as_bytes()).0 != message::ERROR
    });
    assert_eq!(written.count(), MAX_CHANGE_BYTES / long.len());
}

#[test]
fn the_store_does_not_grow_while_the_heap_is_short() {
    let session = &mut session();
    machine::hosted::heap::set_short(true);
    for (kind, payload) in [
        (message::WRITE, &b"data/a\0x"[..]),
        (message::MKDIR, b"data/a\0"),
        (message::WATCH, b"data\0token\0"),
        (message::TRANSACTION_START, b"\0"),
    ] {
        assert_eq!(one(session, kind, 0, payload), failed("ENOSPC"));
    }
    assert_eq!(one(session, message::READ, 0, b"name\0").1, b"web");
    machine::hosted::heap::set_short(false);
    assert_eq!(one(session, message::WRITE, 0, b"data/a\0x").1, b"OK\0");
}

#[test]
fn a_commit_with_too_many_events_is_refused() {
    let session = &mut session();
    for number in 0..MAX_WATCHES {
        let payload = format!("/\0{number:0126}\0");
        assert_eq!(talk(session, message::WATCH, 0, payload.as_bytes()).len(), 2, "{number}");
    }
    let id = one(session, message::TRANSACTION_START, 0, b"\0").1;
    let id: u32 = core::str::from_utf8(&id[..id.len() - 1]).expect("a number").parse().expect("a number");
    let path = |number: usize| format!("/local/domain/7/data/{number:043}");
    for number in 0..MAX_CHANGES {
        let payload = format!("{}\0x", path(number));
        assert_eq!(one(session, message::WRITE, id, payload.as_bytes()).0, message::WRITE, "{number}");
    }
    assert_eq!(one(session, message::TRANSACTION_END, id, b"T\0"), failed("ENOSPC"));
    assert_eq!(one(session, message::READ, 0, format!("{}\0", path(0)).as_bytes()), failed("ENOENT"));
    // A single change may fire all watches.
    assert_eq!(talk(session, message::WRITE, 0, format!("{}\0x", path(0)).as_bytes()).len(), 1 + MAX_WATCHES);
}
