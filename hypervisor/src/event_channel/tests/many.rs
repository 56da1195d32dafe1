//! More ports than the 2-level ABI supports, and guests that make finding a free one hard.

use abi::errno::Errno;
use abi::event_channel::{BindIpi, Close, ExpandArray, Send, fifo, op};
use machine::frames::Budget;

use super::fifo::{LINKED, WORDS, expand, get, guest as fifo_guest, init_control, set};
use super::{alloc, bind, bind_ipi, call, close, pending, send, status_of, upcall};
use crate::call::CallError;
use crate::domain::Port;
use crate::event_channel::event_channel_op;
use crate::event_channel::ports::{COST_OF_WAKING, DEFAULT_LIMIT, LOOKS};
use crate::event_channel::two_level::clear_pending;
use crate::scheduler::start_polling;
use crate::testing::Guest;

/// Pages of event words of the guest, for fewer ports than it uses.
const PAGES: u32 = 4;
/// The highest port of an ordinary domain.
const LIMIT: u32 = DEFAULT_LIMIT.get();

/// An initial domain that uses the FIFO ABI, whose word pages start at `WORDS`.
fn initial_domain() -> Guest {
    let mut guest = Guest::privileged(0, WORDS + PAGES as usize + 1);
    init_control(&mut guest, 0, 1).expect("a control block");
    (0..PAGES as usize).for_each(|page| expand(&mut guest, WORDS + page).expect("words"));
    guest
}

#[test]
fn the_initial_domain_can_use_all_ports() {
    let most = if cfg!(miri) { 200 } else { fifo::NR_CHANNELS - 1 };
    let mut guest = initial_domain();
    for port in 1..=most {
        assert_eq!(bind_ipi(&mut guest, 0), Ok(port));
    }
    if !cfg!(miri) {
        assert_eq!(bind_ipi(&mut guest, 0), Err(Errno::ENOSPC));
    }
    // One with a word, one without. The latter's event is delivered when the guest adds the word.
    let with_word = PAGES * 1024 - 1;
    for port in [with_word, with_word + 1] {
        let _ = send(&mut guest, port);
    }
    if !cfg!(miri) {
        assert_ne!(get(&mut guest, WORDS + PAGES as usize - 1, 1023) & 1 << fifo::PENDING, 0);
        let page = WORDS + PAGES as usize;
        expand(&mut guest, page).expect("words");
        assert_ne!(get(&mut guest, page, 0) & 1 << fifo::PENDING, 0);
    }
    for port in [most, 70, 3] {
        close(&mut guest, port).expect("open");
    }
    assert_eq!([3, 70, most].map(|_| bind_ipi(&mut guest, 0)), [3, 70, most].map(Ok), "the lowest first");
}

#[test]
fn closing_all_ports_is_preemptible() {
    let mut guest = initial_domain();
    let count = if cfg!(miri) { 200 } else { 20_000 };
    (1..=count).for_each(|port| assert_eq!(bind_ipi(&mut guest, 0), Ok(port)));
    let close_all = |units| guest.domain.events.close_all(&guest.domain, &mut Budget::new(units));
    let goes = (0..).take_while(|_| !close_all(1000)).count();
    // At most 64 units per port, and 8 for the memory of 64 ports.
    assert!(goes <= count as usize * 65 / 1000 + 1, "{goes} goes");
    assert!(close_all(1000), "there is nothing left to be done");
}

#[test]
fn calls_are_preempted_while_all_words_are_linked() {
    let mut guest = fifo_guest();
    // All ports have been used and are free again.
    (1..=LIMIT).for_each(|port| assert_eq!(bind_ipi(&mut guest, 0), Ok(port)));
    for port in 1..=LIMIT {
        close(&mut guest, port).expect("open");
        set(&mut guest, WORDS, port, LINKED);
    }
    let argument = guest.put(&BindIpi { vcpu: 0, port: 0 });
    let mut goes = 0;
    let errno = loop {
        let aside = guest.domain.events.lock().put_aside();
        match event_channel_op(&mut guest.caller(), op::BIND_IPI, argument) {
            Err(CallError::Errno(errno)) => break errno,
            Err(CallError::Continue(_)) => goes += 1,
            other => panic!("{other:?}"),
        }
        let put = guest.domain.events.lock().put_aside() - aside;
        assert!(put <= LOOKS, "{put} ports set aside at once");
    };
    assert_eq!(errno, Errno::ENOSPC);
    assert!(goes >= LIMIT / LOOKS, "{goes} goes");
    // The guest removes them from its queue, the last first.
    for port in (1..=LIMIT).rev() {
        set(&mut guest, WORDS, port, 0);
        let found = bind_ipi(&mut guest, 0).expect("the one that came back");
        assert_eq!(found, port);
    }
    assert_eq!(bind_ipi(&mut guest, 0), Err(Errno::ENOSPC));
}

#[test]
fn the_search_for_a_port_ends_for_any_number_of_linked_ports() {
    let mut guest = fifo_guest();
    for count in 1..=70 {
        // One more than before is linked and free, and no other may be allocated.
        guest.domain.events.set_limit(Port::new(count));
        assert_eq!(bind_ipi(&mut guest, 0), Ok(count));
        close(&mut guest, count).expect("open");
        set(&mut guest, WORDS, count, LINKED);
        let argument = guest.put(&BindIpi { vcpu: 0, port: 0 });
        for first in 0..=count + 1 {
            guest.domain.events.lock().look_from(Port::new(first));
            let end = (0..10).find_map(|_| match event_channel_op(&mut guest.caller(), op::BIND_IPI, argument) {
                Err(CallError::Continue(_)) => None,
                end => Some(end),
            });
            let is_refused = matches!(end, Some(Err(CallError::Errno(Errno::ENOSPC))));
            assert!(is_refused, "{count} ports, checked from {first}: {end:?}");
        }
    }
}

#[test]
fn waking_many_polling_vcpus_spends_budget() {
    let mut guest = Guest::with_vcpus(1, 4, 128);
    let mut other = Guest::new(2, 4);
    let open = alloc(&mut guest, 2);
    let their_port = bind(&mut other, 1, open).expect("open to domain 2");
    let own_port = bind_ipi(&mut guest, 0).expect("a port");
    let spent = |sender: &mut Guest, port| {
        let argument = sender.put(&Send { port });
        let mut caller = sender.caller();
        assert!(matches!(event_channel_op(&mut caller, op::SEND, argument), Ok(0)));
        Budget::HYPERCALL - caller.budget.left()
    };
    assert_eq!((spent(&mut guest, own_port), spent(&mut other, their_port)), (0, 0), "no vCPU polls");
    for port in [open, own_port] {
        let polled = Port::new(port);
        clear_pending(&guest.domain, polled);
        for vcpu in guest.domain.vcpus().iter().skip(1) {
            start_polling(vcpu, &guest.domain, &[polled]);
        }
        let spent = if port == open { spent(&mut other, their_port) } else { spent(&mut guest, own_port) };
        assert_eq!(spent, 127 * COST_OF_WAKING);
        assert!(guest.domain.vcpus().iter().all(|vcpu| !vcpu.scheduling.is_blocked()));
    }
}

#[test]
fn a_port_that_is_reused_in_the_other_abi_is_not_pending() {
    let mut guest = Guest::new(1, 4);
    let port = bind_ipi(&mut guest, 0).expect("a port");
    send(&mut guest, port).expect("an IPI");
    assert!(pending(&guest, port) && upcall(&guest, 0));
    init_control(&mut guest, 0, 1).expect("a control block");
    call(&mut guest, op::CLOSE, Close { port }).expect("open");
    assert_eq!(alloc(&mut guest, 2), port);
    expand(&mut guest, WORDS).expect("words");
    assert_eq!(get(&mut guest, WORDS, port), 0, "the event belonged to the previous use");
    assert_eq!(status_of(&mut guest, port).map(|status| status.port), Ok(port));
}

#[test]
fn adding_the_same_page_of_words_repeatedly_spends_budget() {
    let mut guest = fifo_guest();
    (1..=LIMIT).for_each(|port| assert_eq!(bind_ipi(&mut guest, 0), Ok(port)));
    let array_gfn = guest.mfn(WORDS).get();
    let argument = guest.put(&ExpandArray { array_gfn });
    let mut caller = guest.caller_with(100_000);
    assert!(event_channel_op(&mut caller, op::EXPAND_ARRAY, argument).is_ok());
    // The second page is for ports that do not exist.
    let left = |caller: &crate::call::Caller<'_>| caller.budget.left();
    assert!(left(&caller) > 99_000);
    let mut fresh = Guest::new(2, 4);
    init_control(&mut fresh, 0, 1).expect("a control block");
    (1..=LIMIT).for_each(|port| assert_eq!(bind_ipi(&mut fresh, 0), Ok(port)));
    let array_gfn = fresh.mfn(WORDS).get();
    let argument = fresh.put(&ExpandArray { array_gfn });
    let mut caller = fresh.caller_with(100_000);
    assert!(event_channel_op(&mut caller, op::EXPAND_ARRAY, argument).is_ok());
    assert!(left(&caller) < 99_000, "a check of each of 1024 ports");
}
