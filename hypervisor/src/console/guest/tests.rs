//! A console's ring from a guest's side, including hostile guests. Each test has a process, and
//! therefore a serial line, of its own.

use core::sync::atomic::Ordering;

use abi::xen::DomainId;
use machine::hosted::console::take_output;

use super::*;
use crate::domain::{Domain, Settings, new_shared_page};
use crate::event_channel::allocate_for_paravane;
use crate::testing;

const OUTPUT_CONSUMER: usize = 3080;
const OUTPUT_PRODUCER: usize = 3084;
const INPUT_CONSUMER: usize = 3072;
const INPUT_PRODUCER: usize = 3076;

struct Guest {
    console: GuestConsole,
    page: SharedPage,
}

impl Guest {
    fn new(name: &str) -> Self {
        testing::start_machine();
        let settings =
            Settings { name: String::from(name), privileged: false, vcpus: 1, max_frames: 16, weight: 256, cap: 0 };
        let domain = Domain::new(DomainId(9), settings).expect("memory for a domain");
        let port = allocate_for_paravane(&domain, crate::console::CONSUMER).expect("a port");
        let page = new_shared_page(domain.id()).expect("a free frame");
        let console = GuestConsole::new(name);
        console.attach(page.again(), port);
        Self { console, page }
    }

    fn index(&self, offset: usize) -> u32 {
        self.page.atomic_u32(offset).load(Ordering::SeqCst)
    }

    fn set(&self, offset: usize, value: u32) {
        self.page.atomic_u32(offset).store(value, Ordering::SeqCst);
    }

    fn print(&self, text: &[u8]) {
        for byte in text {
            let producer = self.index(OUTPUT_PRODUCER);
            self.page.atomic_u8(INPUT_SIZE + producer as usize % OUTPUT_SIZE).store(*byte, Ordering::SeqCst);
            self.set(OUTPUT_PRODUCER, producer.wrapping_add(1));
        }
    }

    fn fetch(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.index(INPUT_CONSUMER) != self.index(INPUT_PRODUCER) {
            let consumer = self.index(INPUT_CONSUMER);
            bytes.push(self.page.atomic_u8(consumer as usize % INPUT_SIZE).load(Ordering::SeqCst));
            self.set(INPUT_CONSUMER, consumer.wrapping_add(1));
        }
        bytes
    }
}

fn shown() -> String {
    String::from_utf8(take_output()).expect("plain text")
}

#[test]
fn lines_are_prefixed_wherever_the_ring_wraps() {
    let guest = Guest::new("web");
    for index in [OUTPUT_CONSUMER, OUTPUT_PRODUCER] {
        guest.set(index, u32::MAX - 4);
    }
    guest.print(b"Linux version 6.1\r\npart");
    guest.console.serve();
    assert_eq!(shown(), "[web] Linux version 6.1\n");
    guest.print(b" two\n");
    guest.console.serve();
    assert_eq!(shown(), "[web] part two\n");
    assert_eq!(guest.index(OUTPUT_CONSUMER), guest.index(OUTPUT_PRODUCER));
}

#[test]
fn invalid_indices_are_reported_and_nothing_is_read() {
    let guest = Guest::new("web");
    for (consumer, producer) in [(0, 2049), (1, 0), (5, u32::MAX)] {
        guest.set(OUTPUT_CONSUMER, consumer);
        guest.set(OUTPUT_PRODUCER, producer);
        assert!(guest.console.serve().corrupt);
        assert_eq!(shown(), "");
    }
    guest.set(INPUT_CONSUMER, 7);
    assert!(guest.console.add_input(b"x").is_none());
}

#[test]
fn a_full_ring_is_emptied_in_bounded_pieces() {
    let guest = Guest::new("a-name-that-is-rather-long");
    guest.print(&[b'\n'; OUTPUT_SIZE]);
    let mut rounds = 1;
    while guest.console.serve().more {
        rounds += 1;
        assert!(guest.console.take_deferred());
        assert!(shown().len() < OUTPUT_AT_ONCE + 128 * 40);
    }
    assert!(rounds > 5);
    assert_eq!(guest.index(OUTPUT_CONSUMER), guest.index(OUTPUT_PRODUCER));
}

#[test]
fn an_incomplete_line_is_shown_while_typing_and_at_the_end() {
    let guest = Guest::new("web");
    guest.print(b"/ # ");
    guest.console.serve();
    assert_eq!(shown(), "");
    assert!(guest.console.add_input(b"ls\n").is_some());
    assert_eq!(shown(), "[web] / # ");
    guest.print(b"ls\nbin");
    guest.console.serve();
    assert_eq!(shown(), "[web] / # ls\n[web] bin".replacen("[web] / # ", "", 1));
    machine::console::print_line(format_args!("a line of the host"));
    guest.print(b" etc");
    guest.console.serve();
    guest.console.flush();
    assert_eq!(shown(), "\n(pv) a line of the host\n[web]  etc\n");
    assert!(guest.console.port().is_none());
}

#[test]
fn input_waits_for_room_and_is_bounded() {
    let guest = Guest::new("web");
    let typed: Vec<u8> = (0..3000).map(|n| b'a' + (n % 26) as u8).collect();
    assert!(guest.console.add_input(&typed).is_some());
    let mut fetched = guest.fetch();
    assert_eq!(fetched.len(), INPUT_SIZE);
    while guest.console.serve().notify.is_some() {
        fetched.extend(guest.fetch());
    }
    assert_eq!(fetched, typed);
    for _ in 0..100 {
        guest.console.add_input(&typed);
    }
    assert!(guest.console.state.lock().input.len() <= INPUT_KEPT);
}

#[test]
fn output_stays_in_the_ring_while_the_serial_line_is_full() {
    let guest = Guest::new("web");
    machine::hosted::console::set_full(true);
    guest.print(b"hello\n");
    let served = guest.console.serve();
    assert!(served.waits && !served.more && take_output().is_empty());
    assert!(guest.console.take_deferred());
    machine::hosted::console::set_full(false);
    assert!(!guest.console.serve().waits);
    assert_eq!(take_output(), b"[web] hello\n");
}
