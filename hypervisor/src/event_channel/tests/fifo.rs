//! The FIFO ABI from a guest's side.

use std::vec::Vec;

use abi::errno::Errno;
use abi::event_channel::{ExpandArray, InitControl, Reset, SetPriority, Unmask, fifo, op};
use abi::xen::DomainId;
use zerocopy::FromZeros;

use super::{bind_ipi, call, close, pending, send, upcall};
use crate::testing::{Guest, rounds};

pub(super) const CONTROL: usize = 1;
pub(super) const WORDS: usize = 2;
const PENDING: u32 = 1 << fifo::PENDING;
const MASKED: u32 = 1 << fifo::MASKED;
pub(super) const LINKED: u32 = 1 << fifo::LINKED;

pub(super) fn init_control(guest: &mut Guest, vcpu: u32, page: usize) -> Result<(), Errno> {
    let mut arguments = InitControl::new_zeroed();
    (arguments.control_gfn, arguments.vcpu) = (guest.mfn(page).get(), vcpu);
    let out = call(guest, op::INIT_CONTROL, arguments)?;
    assert_eq!(u32::from(out.link_bits), fifo::LINK_BITS);
    Ok(())
}

pub(super) fn expand(guest: &mut Guest, page: usize) -> Result<(), Errno> {
    let array_gfn = guest.mfn(page).get();
    call(guest, op::EXPAND_ARRAY, ExpandArray { array_gfn }).map(|_| ())
}

pub(super) fn get(guest: &mut Guest, page: usize, index: u32) -> u32 {
    let address = guest.address(page).offset(u64::from(index) * 4);
    guest.read(address)
}

pub(super) fn set(guest: &mut Guest, page: usize, index: u32, value: u32) {
    let address = guest.address(page).offset(u64::from(index) * 4);
    guest.caller().cpu.write(address, &value).expect("mapped");
}

/// Removes the pending events of a queue of vCPU 0, as a guest does. `head` is kept between calls.
fn consume(guest: &mut Guest, head: &mut u32, priority: u32) -> Vec<u32> {
    let mut ports = Vec::new();
    let ready = get(guest, CONTROL, 0);
    set(guest, CONTROL, 0, ready & !(1 << priority));
    if ready & 1 << priority == 0 {
        return ports;
    }
    loop {
        if *head == 0 {
            *head = get(guest, CONTROL, 2 + priority);
        }
        let port = *head;
        let word = get(guest, WORDS, port);
        set(guest, WORDS, port, word & !(LINKED | fifo::LINK_MASK));
        *head = word & fifo::LINK_MASK;
        if word & PENDING != 0 && word & MASKED == 0 {
            let word = get(guest, WORDS, port);
            set(guest, WORDS, port, word & !PENDING);
            ports.push(port);
        }
        if *head == 0 {
            return ports;
        }
    }
}

pub(super) fn guest() -> Guest {
    let mut a = Guest::new(1, 4);
    init_control(&mut a, 0, CONTROL).expect("a control block");
    expand(&mut a, WORDS).expect("words");
    a
}

#[test]
fn events_come_in_order() {
    let mut a = guest();
    let ports: Vec<u32> = (0..5).map(|_| bind_ipi(&mut a, 0).expect("a port")).collect();
    let mut head = 0;
    for _ in 0..3 {
        for &port in ports.iter().rev() {
            send(&mut a, port).expect("an IPI");
            send(&mut a, port).expect("an IPI");
        }
        assert!(upcall(&a, 0));
        let expected: Vec<u32> = ports.iter().rev().copied().collect();
        assert_eq!(consume(&mut a, &mut head, 7), expected);
    }
}

#[test]
fn events_pending_before_the_switch_are_not_lost() {
    let mut a = Guest::new(1, 4);
    let port = bind_ipi(&mut a, 0).expect("a port");
    let quiet = bind_ipi(&mut a, 0).expect("a port");
    send(&mut a, port).expect("an IPI");
    init_control(&mut a, 0, CONTROL).expect("a control block");
    assert_eq!(init_control(&mut a, 0, 3), Err(Errno::EINVAL));
    expand(&mut a, WORDS).expect("words");
    assert_eq!(consume(&mut a, &mut 0, 7), [port]);
    assert!(!pending(&a, quiet));
}

#[test]
fn a_masked_event_is_linked_when_unmasked() {
    let mut a = guest();
    let port = bind_ipi(&mut a, 0).expect("a port");
    set(&mut a, WORDS, port, MASKED);
    send(&mut a, port).expect("an IPI");
    assert!(!upcall(&a, 0));
    assert_eq!(get(&mut a, WORDS, port), PENDING | MASKED);
    call(&mut a, op::UNMASK, Unmask { port }).expect("a port");
    assert!(upcall(&a, 0));
    assert_eq!(consume(&mut a, &mut 0, 7), [port]);
}

#[test]
fn each_priority_has_a_queue() {
    let mut a = guest();
    let port = bind_ipi(&mut a, 0).expect("a port");
    let mut seven = 0;
    send(&mut a, port).expect("an IPI");
    call(&mut a, op::SET_PRIORITY, SetPriority { port, priority: 2 }).expect("a priority");
    assert_eq!(call(&mut a, op::SET_PRIORITY, SetPriority { port, priority: 16 }).map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(consume(&mut a, &mut seven, 7), [port], "it was linked before");
    send(&mut a, port).expect("an IPI");
    assert_eq!(consume(&mut a, &mut seven, 7), []);
    assert_eq!(consume(&mut a, &mut 0, 2), [port]);
    let other = bind_ipi(&mut a, 0).expect("a port");
    send(&mut a, other).expect("an IPI");
    assert_eq!(consume(&mut a, &mut seven, 7), [other], "the former tail is not linked to");
}

#[test]
fn a_port_that_is_still_linked_is_not_allocated() {
    let mut a = guest();
    let port = bind_ipi(&mut a, 0).expect("a port");
    send(&mut a, port).expect("an IPI");
    close(&mut a, port).expect("open");
    assert_ne!(bind_ipi(&mut a, 0), Ok(port));
    assert_eq!(consume(&mut a, &mut 0, 7), []);
    assert_eq!(bind_ipi(&mut a, 0), Ok(port));
}

#[test]
fn random_event_words_are_harmless() {
    let mut a = guest();
    let ports: Vec<u32> = (0..64).map(|_| bind_ipi(&mut a, 0).expect("a port")).collect();
    let mut state = 1u32;
    for round in 0..rounds(2000) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        set(&mut a, WORDS, state >> 16 & 127, state.rotate_left(13));
        set(&mut a, CONTROL, round % 18, state);
        send(&mut a, ports[(state >> 8 & 63) as usize]).expect("an IPI");
    }
    call(&mut a, op::RESET, Reset { domain: DomainId::SELF }).expect("all closed");
    assert_eq!(bind_ipi(&mut a, 0), Ok(1));
    send(&mut a, 1).expect("an IPI");
    assert!(pending(&a, 1), "the 2-level ABI is back");
    init_control(&mut a, 0, CONTROL).expect("and may be left again");
}

#[test]
fn control_blocks_and_words_must_be_writable_memory_of_the_guest() {
    let mut a = Guest::new(1, 4);
    let foreign = Guest::new(2, 1);
    for (gfn, offset, vcpu, errno) in [
        (foreign.mfn(0).get(), 0, 0, Errno::EINVAL),
        (a.entry_address(0) >> 12, 0, 0, Errno::EINVAL),
        (u64::MAX, 0, 0, Errno::EINVAL),
        (a.mfn(1).get(), 4, 0, Errno::EINVAL),
        (a.mfn(1).get(), 4096 - 64, 0, Errno::EINVAL),
        (a.mfn(1).get(), u32::MAX - 7, 0, Errno::EINVAL),
        (a.mfn(1).get(), 0, 2, Errno::ENOENT),
    ] {
        let mut arguments = InitControl::new_zeroed();
        (arguments.control_gfn, arguments.offset, arguments.vcpu) = (gfn, offset, vcpu);
        assert_eq!(call(&mut a, op::INIT_CONTROL, arguments).map(|_| ()), Err(errno));
    }
    init_control(&mut a, 0, CONTROL).expect("a control block");
    let array_gfn = foreign.mfn(0).get();
    assert_eq!(call(&mut a, op::EXPAND_ARRAY, ExpandArray { array_gfn }).map(|_| ()), Err(Errno::EINVAL));
}
