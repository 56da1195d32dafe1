//! Tests with another domain. The mailbox is a page of the peer, its first grant; see
//! `grants-peer`.

use kernel::abi::event_channel::{BindInterdomain, op as event};
use kernel::abi::grant_table::{CopyPointer, GrantCopy, copy_flags, entry_flags, map_flags, op, status};
use kernel::abi::xen::{DomainId, domid};
use kernel::call::{error, number};
use kernel::grants::{end, flags, grant, grant_op, map, unmap};
use kernel::memory::{argument, mfn_of, page, peek, poke, zeroed};
use kernel::{attempt, call, check, check_eq, say, tables, time};

/// References that the peer uses, and the words of the mailbox.
const MAILBOX: u32 = 8;
const FOR_OTHERS: u32 = 9;
const READABLE: u32 = 10;
const MAGIC: u64 = 0x7065_6572_6d61_696c;
const PORT: u64 = 8;
const REQUEST: u64 = 16;
const ANSWER: u64 = 24;
const FRAME: u64 = 32;

pub(crate) fn all() {
    let Some(peer) = argument("peer") else {
        say!("no peer");
        return;
    };
    let peer = peer as u16;
    let (mailbox, own) = (page(), page());
    check_eq!(tables::update_va(mailbox, 0, 2), 0, "making room");
    // The peer may not have started yet.
    let end_of_wait = time::now() + 30_000_000_000;
    let handle = loop {
        match map(peer, MAILBOX, mailbox, 0) {
            Ok((handle, _)) => break handle,
            Err(status) if time::now() > end_of_wait => {
                check!(false, "no peer: {status}");
                return;
            }
            Err(_) => kernel::call::yield_now(),
        }
    };
    wait(mailbox, 0, MAGIC, "the peer's mailbox");
    // An event channel of the peer, which can be bound only once.
    let remote_port = peek::<u64>(mailbox + PORT) as u32;
    let mut bind = BindInterdomain { remote_domain: DomainId(peer), remote_port, ..zeroed() };
    check_eq!(call!(number::EVENT_CHANNEL_OP, event::BIND_INTERDOMAIN, &mut bind), 0, "bind_interdomain");
    let again = call!(number::EVENT_CHANNEL_OP, event::BIND_INTERDOMAIN, &mut bind.clone());
    check_eq!(again, error::EINVAL, "bind_interdomain twice");
    let request = |what: u64| {
        poke(mailbox + REQUEST, what);
        check_eq!(call!(number::EVENT_CHANNEL_OP, event::SEND, &{ bind.local_port }), 0, "send");
        wait(mailbox, ANSWER, what, "the peer's answer");
    };
    request(1);
    permissions(peer, mailbox);
    // The other direction: the peer maps a page of this domain, and adds one to each word.
    for at in 0..512u64 {
        poke(own + at * 8, at);
    }
    grant(30, peer, mfn_of(own), entry_flags::PERMIT_ACCESS);
    poke(mailbox + FRAME, 30u64);
    request(2);
    check!((0..512u64).all(|at| peek::<u64>(own + at * 8) == at + 1), "the peer has added one to each word");
    check_eq!(flags(30), entry_flags::PERMIT_ACCESS, "the peer has unmapped it");
    end(30);
    // Copies from and to the peer.
    let mut copy: GrantCopy = zeroed();
    copy.source = CopyPointer { reference_or_frame: u64::from(READABLE), domain: DomainId(peer), offset: 0, _pad: 0 };
    copy.destination =
        CopyPointer { reference_or_frame: mfn_of(own), domain: DomainId(domid::SELF), offset: 0, _pad: 0 };
    copy.length = 4096;
    copy.flags = copy_flags::SOURCE_GREF;
    check_eq!((grant_op(op::COPY, &mut copy), copy.status), (0, status::OKAY), "copy from the peer");
    check!((0..512u64).all(|at| peek::<u64>(own + at * 8) == at * 3), "the copy");
    // Frames of the peer without a grant are not accessible.
    let frame = peek::<u64>(mailbox + FRAME + 8);
    check!(tables::update_va(own, frame << 12 | tables::READABLE, 2) < 0, "the peer's frame, by page table");
    copy.source.reference_or_frame = frame;
    copy.flags = 0;
    check_eq!(grant_op(op::COPY, &mut copy), 0, "the peer's frame, by copy");
    check!(copy.status < 0, "the peer's frame, by copy: {}", copy.status);
    let result =
        call!(number::MMUEXT_OP, &tables::operation(tables::mmuext::CLEAR_PAGE, frame, 0), 1u32, 0u64, domid::SELF);
    check!(result < 0, "the peer's frame, cleared: {result}");
    // The peer ends. Its page remains accessible until it is unmapped.
    request(3);
    let end_of_wait = time::now() + 5_000_000_000;
    let result = loop {
        let result = call!(number::EVENT_CHANNEL_OP, event::SEND, &{ bind.local_port });
        if time::now() > end_of_wait || map(peer, READABLE, own, map_flags::READONLY).is_err() {
            break result;
        }
        let _ = tables::update_va(own, 0, 2);
        kernel::call::yield_now();
    };
    check!(result <= 0, "send to a peer that ends: {result}");
    check_eq!(peek::<u64>(mailbox), MAGIC, "the mailbox of a peer that has ended");
    poke(mailbox + 64, 1u64);
    check_eq!(unmap(mailbox, handle), status::OKAY, "unmap");
    check!(attempt!("mov cl, [{at}]"; at = in(reg) mailbox, out("cl") _).is_some(), "it is unmapped");
}

/// Waits until a word of the mailbox has a value.
fn wait(mailbox: u64, offset: u64, value: u64, what: &str) {
    let end = time::now() + 30_000_000_000;
    while peek::<u64>(mailbox + offset) != value {
        if time::now() > end {
            kernel::harness::error(format_args!("{what} does not arrive"));
        }
        kernel::call::yield_now();
    }
}

fn permissions(peer: u16, mailbox: u64) {
    let at = page();
    check_eq!(tables::update_va(at, 0, 2), 0, "making room");
    check!(map(peer, FOR_OTHERS, at, 0).is_err(), "a grant to another domain");
    check!(map(peer, 100, at, 0).is_err(), "an invalid grant");
    check!(map(peer, READABLE, at, 0).is_err(), "a read-only grant, writable");
    let (handle, _) = map(peer, READABLE, at, map_flags::READONLY).expect("a read-only grant");
    check_eq!(peek::<u64>(at + 8), 3, "read through it");
    let trap = attempt!("mov byte ptr [{at}], 1"; at = in(reg) at);
    check!(trap.is_some_and(|trap| trap.frame.vector == 14), "it is read-only: {trap:x?}");
    // A foreign page cannot become a table of this domain, and its M2P entry cannot be changed.
    let mfn = (peek::<u64>(tables::entry(at, 1)) & tables::ADDRESS) >> 12;
    check!(tables::extended(tables::mmuext::PIN_L1_TABLE, mfn, 0) < 0, "a foreign page as a table");
    check!(tables::update(mfn << 12 | 1, 5) < 0, "the M2P entry of a foreign page");
    check_eq!(unmap(at, handle), status::OKAY, "unmap");
    let _ = mailbox;
}
