//! Links over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::Frame;
use super::lanes::{Meeting, forward};
use super::{Hello, Link, Message, PROTOCOL};

const PATIENCE: Duration = Duration::from_secs(20);

/// A link and the bare other end.
fn half(patience: Duration) -> (Link, UnixStream) {
    let (here, there) = UnixStream::pair().expect("a pair of sockets");
    let output = here.try_clone().expect("a second descriptor").into();
    (Link::new(here.into(), output, patience, ()).expect("a link"), there)
}

fn pair() -> (Link, Link) {
    let (a, there) = half(PATIENCE);
    let output = there.try_clone().expect("a second descriptor").into();
    (a, Link::new(there.into(), output, PATIENCE, ()).expect("a link"))
}

fn hello(protocol: u32) -> Hello {
    Hello { protocol, version: "0".into(), host: "a".into(), boot: "b".into() }
}

#[test]
fn messages_and_records_arrive_in_order() {
    let (mut a, mut b) = pair();
    for compress in [false, true] {
        a.tune(compress, None);
        let records = a.numbered();
        a.send(&Message::Ping { number: 1, records }).expect("sent");
        a.send_records(vec![7; 100_000]).expect("sent");
        a.send(&Message::End { records: records + 1 }).expect("sent");
        assert_eq!(b.message().expect("a message"), Message::Ping { number: 1, records });
        let frame = Frame::Records { number: records, compact: vec![7; 100_000] };
        assert_eq!(b.receive().expect("a frame"), frame);
        assert_eq!(b.message().expect("a message"), Message::End { records: records + 1 });
        assert!(if compress { a.sent() < 2_000 } else { a.sent() > 100_000 });
    }
}

#[test]
fn records_over_several_connections_arrive_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let (mut a, mut b) = pair();
    a.tune(true, None);
    let meeting = Meeting::open(&socket, &b, 3).expect("a socket");
    let forwarders: Vec<_> = (0..3)
        .map(|_| {
            let (mut near, mut far) = pair();
            let socket = socket.clone();
            let forwarder = std::thread::spawn(move || forward(&mut far, &socket));
            assert_eq!(near.message().expect("an answer"), Message::Accepted);
            a.widen(near);
            forwarder
        })
        .collect();
    let sender = std::thread::spawn(move || {
        for number in 0..100_u32 {
            a.send_records(number.to_le_bytes().repeat(1 + (number as usize * 7919) % 20_000)).expect("sent");
            if number % 10 == 9 {
                a.send(&Message::Ping { number: 1, records: a.numbered() }).expect("sent");
                assert_eq!(a.message().expect("an answer"), Message::Pong(1));
            }
        }
        a.narrow().expect("all is sent");
        a.send(&Message::End { records: 100 }).expect("sent");
        a
    });
    let mut next = 0;
    loop {
        match b.receive().expect("a frame") {
            Frame::Records { number, compact } => {
                assert_eq!(number, next);
                assert_eq!(compact[..4], u32::try_from(number).expect("few").to_le_bytes());
                next += 1;
            }
            Frame::Message(Message::Ping { number, records }) => {
                assert_eq!(records, next, "all records before have arrived");
                b.send(&Message::Pong(number)).expect("sent");
            }
            Frame::Message(message) => break assert_eq!(message, Message::End { records: 100 }),
        }
    }
    drop(meeting);
    assert!(!socket.exists());
    drop(sender.join());
    forwarders.into_iter().for_each(|forwarder| forwarder.join().expect("a thread").expect("it forwards"));
}

#[test]
fn a_connection_that_breaks_breaks_the_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("socket");
    let (_a, mut b) = pair();
    let _meeting = Meeting::open(&socket, &b, 1).expect("a socket");
    drop(UnixStream::connect(&socket).expect("it listens"));
    assert!(b.receive().is_err());
}

#[test]
fn a_closed_link_and_a_reported_failure_are_errors() {
    let (mut a, b) = pair();
    b.send(&Message::Failed("no memory".into())).expect("sent");
    drop(b);
    assert!(a.message().expect_err("it failed").to_string().contains("no memory"));
    assert!(a.message().expect_err("it is closed").to_string().contains("closed"));
}

#[test]
fn silence_ends_the_patience() {
    let (mut a, mut there) = half(Duration::from_millis(50));
    assert!(a.receive().expect_err("nothing comes").to_string().contains("nothing was heard"));
    assert_eq!(there.read(&mut [0]).expect("it sends signs of life itself"), 1);
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let (mut a, b) = pair();
    b.send(&Message::Hello(hello(PROTOCOL + 1))).expect("sent");
    assert!(a.greet(hello(PROTOCOL)).expect_err("it differs").to_string().contains("same version"));
}

#[test]
fn frames_beyond_the_limits_are_refused() {
    for kind in [0, 1, 2, 3] {
        let (mut a, mut there) = half(PATIENCE);
        there.write_all(&[0xff, 0xff, 0xff, 0x7f, kind]).expect("sent");
        assert!(a.receive().is_err());
    }
    // 64 MiB of zeros, compressed to a few kilobytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).expect("compressed");
    let (mut a, mut there) = half(PATIENCE);
    let length = u32::try_from(bomb.len() + 8).expect("a length").to_le_bytes();
    there.write_all(&[&length[..], &[2], &[0; 8], &bomb].concat()).expect("sent");
    assert!(a.receive().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut bytes = &bytes[..];
        while Frame::read(&mut bytes).is_ok() {}
    }
}
