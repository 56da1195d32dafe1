//! Frames that are released, allocated, and exchanged for contiguous ones.

use kernel::abi::memory::{Exchange, Reservation, op};
use kernel::abi::xen::DomainId;
use kernel::call::{error, number};
use kernel::memory::{m2p, mfn_of, p2m, page, pages, peek, pfn_of, poke, start_info, zeroed};
use kernel::tables::{self, WRITABLE};
use kernel::{call, check, check_eq};

use crate::Region;

fn reservation(list: u64, count: u64, order: u32) -> Reservation {
    Reservation { extent_start: list, extent_count: count, extent_order: order, domain: DomainId::SELF, ..zeroed() }
}

fn set_p2m(pfn: u64, mfn: u64) {
    poke(start_info().mfn_list + pfn * 8, mfn);
}

pub(crate) fn all() {
    contiguous();
    new_frames();
    in_use();
}

/// Exchanges eight pages for eight contiguous, aligned ones, and back.
fn contiguous() {
    let block = pages(8);
    let (input, output) = (page(), page());
    for at in 0..8 {
        poke(block + at * 4096, 0x5555u64);
        poke(input + at * 8, mfn_of(block + at * 4096));
        check_eq!(tables::update_va(block + at * 4096, 0, 2), 0, "unmap");
    }
    poke(output, pfn_of(block));
    let exchange = Exchange { input: reservation(input, 8, 0), output: reservation(output, 1, 3), ..zeroed() };
    check_eq!(call!(number::MEMORY_OP, op::EXCHANGE, &exchange), 0, "exchange for a block of eight");
    check_eq!(peek::<u64>(&raw const exchange.exchanged_count as u64), 8, "pages exchanged");
    let first: u64 = peek(output);
    check_eq!(first % 8, 0, "the block is aligned");
    for at in 0..8u64 {
        check_eq!(m2p(first + at), pfn_of(block) + at, "M2P of the block");
        set_p2m(pfn_of(block) + at, first + at);
        tables::unprotect(block + at * 4096);
        check_eq!(peek::<[u64; 512]>(block + at * 4096), [0; 512], "the new frames are zero");
        poke(block + at * 4096, at);
    }
    // Back to single frames.
    for at in 0..8u64 {
        check_eq!(tables::update_va(block + at * 4096, 0, 2), 0, "unmap");
        poke(output + at * 8, pfn_of(block) + at);
    }
    poke(input, first);
    let exchange = Exchange { input: reservation(input, 1, 3), output: reservation(output, 8, 0), ..zeroed() };
    check_eq!(call!(number::MEMORY_OP, op::EXCHANGE, &exchange), 0, "exchange of the block for single frames");
    for at in 0..8u64 {
        let new: u64 = peek(output + at * 8);
        check_eq!(m2p(new), pfn_of(block) + at, "M2P of single frames");
        set_p2m(pfn_of(block) + at, new);
        tables::unprotect(block + at * 4096);
    }
}

/// increase_reservation allocates frames without a place in the P2M.
fn new_frames() {
    let region = Region::new(3);
    let list = page();
    // First releases a page: the guest may be at its maximum.
    let given = page();
    let pfn = pfn_of(given);
    poke(list, mfn_of(given));
    check_eq!(tables::update_va(given, 0, 2), 0, "unmap");
    check_eq!(call!(number::MEMORY_OP, op::DECREASE_RESERVATION, &reservation(list, 1, 0)), 1, "decrease_reservation");
    check!(tables::update(region.slot(0), p2m(pfn) << 12 | WRITABLE) < 0, "the frame no longer belongs to the guest");
    check_eq!(call!(number::MEMORY_OP, op::INCREASE_RESERVATION, &reservation(list, 1, 0)), 1, "increase_reservation");
    let new: u64 = peek(list);
    check_eq!(tables::update(region.slot(0), new << 12 | WRITABLE), 0, "the new frame belongs to the guest");
    check_eq!(peek::<[u64; 512]>(region.address(0)), [0; 512], "the new frame is zero");
    check_eq!(tables::update(new << 12 | 1, pfn), 0, "its M2P entry can be set");
    check_eq!(tables::update(region.slot(0), 0), 0, "unmap");
    set_p2m(pfn, new);
    tables::unprotect(given);
}

/// A frame that is in use as a table cannot be exchanged.
fn in_use() {
    let (list, table, result) = (page(), page(), page());
    tables::protect(table);
    check_eq!(tables::extended(tables::mmuext::PIN_L1_TABLE, mfn_of(table), 0), 0, "pin");
    poke(list, mfn_of(table));
    poke(result, pfn_of(table));
    let exchange = Exchange { input: reservation(list, 1, 0), output: reservation(result, 1, 0), ..zeroed() };
    check_eq!(call!(number::MEMORY_OP, op::EXCHANGE, &exchange), error::EINVAL, "exchange of a table");
    check_eq!(tables::extended(tables::mmuext::UNPIN_TABLE, mfn_of(table), 0), 0, "unpin");
    crate::is_free(table, "a table not exchanged");
}
