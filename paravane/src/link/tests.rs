//! Links over a pair of sockets.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::Frame;
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
    let (mut a, b) = pair();
    for compress in [false, true] {
        a.tune(compress, None);
        a.send(&Message::Ping(1)).expect("sent");
        a.send_records(vec![7; 100_000]).expect("sent");
        a.send(&Message::End).expect("sent");
        assert_eq!(b.receive().expect("a frame"), Frame::Message(Message::Ping(1)));
        assert_eq!(b.receive().expect("a frame"), Frame::Records(vec![7; 100_000]));
        assert_eq!(b.message().expect("a message"), Message::End);
    }
    assert!(a.sent() > 100_000 && a.sent() < 102_000, "the second frame is compressed: {}", a.sent());
}

#[test]
fn a_closed_link_and_a_reported_failure_are_errors() {
    let (a, b) = pair();
    b.send(&Message::Failed("no memory".into())).expect("sent");
    drop(b);
    assert!(a.message().expect_err("it failed").to_string().contains("no memory"));
    assert!(a.message().expect_err("it is closed").to_string().contains("closed"));
}

#[test]
fn silence_ends_the_patience() {
    let (a, mut there) = half(Duration::from_millis(50));
    assert!(a.receive().expect_err("nothing comes").to_string().contains("nothing was heard"));
    assert_eq!(there.read(&mut [0]).expect("it sends signs of life itself"), 1);
}

#[test]
fn another_version_of_the_protocol_is_refused() {
    let (a, b) = pair();
    b.send(&Message::Hello(hello(PROTOCOL + 1))).expect("sent");
    assert!(a.greet(hello(PROTOCOL)).expect_err("it differs").to_string().contains("same version"));
}

#[test]
fn frames_beyond_the_limits_are_refused() {
    for kind in [0, 1, 2, 3] {
        let (a, mut there) = half(PATIENCE);
        there.write_all(&[0xff, 0xff, 0xff, 0x7f, kind]).expect("sent");
        assert!(a.receive().is_err());
    }
    // 64 MiB of zeros, compressed to a few kilobytes.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).expect("compressed");
    let (a, mut there) = half(PATIENCE);
    let length = u32::try_from(bomb.len()).expect("a length").to_le_bytes();
    there.write_all(&[&length[..], &[2], &bomb].concat()).expect("sent");
    assert!(a.receive().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let mut bytes = &bytes[..];
        while Frame::read(&mut bytes).is_ok() {}
    }
}
