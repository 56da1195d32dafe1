//! `memory_op`: reservations, maps and maximums. The guest `page-tables` tests the effect of
//! exchange on frames.

use kernel::abi::memory::{Exchange, Reservation, op};
use kernel::abi::xen::domid;
use kernel::call::{error, number};
use kernel::memory::{HYPERVISOR, initial_domain, m2p, mfn_of, p2m, page, peek, pfn_of, poke, total_pages, zeroed};
use kernel::{call, check, check_eq, tables};

use crate::faults;

fn memory_op<T>(op: u32, argument: &T) -> i64 {
    call!(number::MEMORY_OP, op, argument)
}

pub(crate) fn all() {
    counts();
    maps();
    reservations();
    exchange();
    refused();
}

fn counts() {
    let myself = domid::SELF;
    let highest = call!(number::MEMORY_OP, op::MAXIMUM_RAM_PAGE, 0u32);
    check!(highest >= p2m(0) as i64, "maximum_ram_page {highest:#x}");
    check_eq!(memory_op(op::CURRENT_RESERVATION, &myself), total_pages() as i64, "current_reservation");
    check!(memory_op(op::MAXIMUM_RESERVATION, &myself) >= total_pages() as i64, "maximum_reservation");
    let gpfn = memory_op(op::MAXIMUM_GPFN, &myself);
    check!(gpfn >= 0 || gpfn == error::ENOSYS, "maximum_gpfn {gpfn:#x}");
    for op in [op::CURRENT_RESERVATION, op::MAXIMUM_RESERVATION, op::MAXIMUM_GPFN] {
        faults("counts of memory_op", |bad| call!(number::MEMORY_OP, op, bad));
        check_eq!(memory_op(op, &0x123u16), error::ESRCH, "memory_op {op} for a nonexistent domain");
        if !initial_domain() {
            check_eq!(memory_op(op, &0u16), error::EPERM, "memory_op {op} for domain 0");
        }
    }
}

fn maps() {
    let buffer = page();
    // machphys_mapping: first address, last address, highest frame.
    check_eq!(call!(number::MEMORY_OP, op::MACHPHYS_MAPPING, buffer), 0, "machphys_mapping");
    let [start, end, highest]: [u64; 3] = peek(buffer);
    check_eq!(start, HYPERVISOR.start, "begin of the M2P");
    check_eq!(end, 0xffff_8040_0000_0000, "end of the M2P");
    check!(highest >= p2m(0), "highest frame of the M2P {highest:#x}");
    faults("machphys_mapping", |bad| call!(number::MEMORY_OP, op::MACHPHYS_MAPPING, bad));
    // memory_map: the guest's E820, if one was set.
    let list = page();
    poke(buffer, [100u64, list]);
    let result = call!(number::MEMORY_OP, op::MEMORY_MAP, buffer);
    if initial_domain() {
        check_eq!(result, error::ENOSYS, "memory_map of a domain without one");
    } else {
        check!(result == 0 || result == error::ENOSYS, "memory_map: {result}");
        if result == 0 {
            let count: u32 = peek(buffer);
            check!((1..100).contains(&count), "entries of the memory map: {count}");
            check_eq!(peek::<u32>(list + 16), 1, "the first is RAM");
            poke(buffer, [100u64, crate::BAD[1]]);
            check_eq!(
                call!(number::MEMORY_OP, op::MEMORY_MAP, buffer),
                error::EFAULT,
                "memory_map with an unmapped buffer"
            );
        }
    }
    // machphys_mfn_list: the M2P's own frames, which every guest may read.
    poke(buffer, [1u64, list, 0]);
    check_eq!(call!(number::MEMORY_OP, op::MACHPHYS_MFN_LIST, buffer), 0, "machphys_mfn_list");
    check_eq!(peek::<u32>(buffer + 16), 1, "extents of the list");
    faults("machphys_mfn_list", |bad| call!(number::MEMORY_OP, op::MACHPHYS_MFN_LIST, bad));
    poke(buffer, [1u64, crate::BAD[1], 0]);
    check_eq!(
        call!(number::MEMORY_OP, op::MACHPHYS_MFN_LIST, buffer),
        error::EFAULT,
        "machphys_mfn_list with an unmapped list"
    );
}

fn reservation(list: u64, count: u64, order: u32) -> Reservation {
    let domain = kernel::abi::xen::DomainId::SELF;
    Reservation { extent_start: list, extent_count: count, extent_order: order, domain, ..zeroed() }
}

fn reservations() {
    for op in [op::INCREASE_RESERVATION, op::DECREASE_RESERVATION, op::POPULATE_PHYSMAP] {
        // These calls return the number of completed extents, not the reason for stopping.
        for bad in crate::BAD {
            check_eq!(call!(number::MEMORY_OP, op, bad), 0, "memory_op {op} with a pointer to {bad:#x}");
        }
        check_eq!(memory_op(op, &reservation(0, 0, 0)), 0, "memory_op {op} of nothing");
        check_eq!(memory_op(op, &reservation(crate::BAD[0], 1, 0)), 0, "memory_op {op}, list unmapped");
        check_eq!(memory_op(op, &reservation(crate::BAD[1], 1, 0)), 0, "memory_op {op}, list in the hypervisor");
        check_eq!(memory_op(op, &reservation(page(), 1, 40)), 0, "memory_op {op}, order 40");
        let count = 1 << 60;
        check_eq!(memory_op(op, &reservation(page(), count, 0)), 0, "memory_op {op}, far too many");
        let mut other = reservation(page(), 1, 0);
        other.domain.0 = 0x123;
        check_eq!(memory_op(op, &other), 0, "memory_op {op} for a nonexistent domain");
        if !initial_domain() {
            other.domain.0 = 0;
            check_eq!(memory_op(op, &other), 0, "memory_op {op} for domain 0");
        }
    }
    // Releases a page, and gets another one in its place.
    let (list, given) = (page(), page());
    let (mfn, pfn) = (mfn_of(given), pfn_of(given));
    let before = memory_op(op::CURRENT_RESERVATION, &domid::SELF);
    check_eq!(tables::update_va(given, 0, 2), 0, "unmapping the page");
    poke(list, mfn);
    check_eq!(memory_op(op::DECREASE_RESERVATION, &reservation(list, 1, 0)), 1, "decrease_reservation");
    check_eq!(memory_op(op::CURRENT_RESERVATION, &domid::SELF), before - 1, "one page fewer");
    check_eq!(memory_op(op::DECREASE_RESERVATION, &reservation(list, 1, 0)), 0, "the same page again");
    poke(list, pfn);
    check_eq!(memory_op(op::POPULATE_PHYSMAP, &reservation(list, 1, 0)), 1, "populate_physmap");
    let new: u64 = peek(list);
    check_eq!(m2p(new), pfn, "the new page's M2P entry");
    check_eq!(memory_op(op::CURRENT_RESERVATION, &domid::SELF), before, "as many pages as before");
    poke(kernel::memory::start_info().mfn_list + pfn * 8, new);
    tables::unprotect(given);
    check_eq!(peek::<[u64; 512]>(given), [0; 512], "the new page is zero");
}

fn exchange() {
    faults("exchange", |bad| call!(number::MEMORY_OP, op::EXCHANGE, bad));
    let (input, output, page) = (page(), page(), page());
    poke(input, mfn_of(page));
    poke(output, pfn_of(page));
    let base = Exchange { input: reservation(input, 1, 0), output: reservation(output, 1, 0), exchanged_count: 0 };
    let mut uneven = base;
    uneven.output.extent_count = 2;
    check_eq!(memory_op(op::EXCHANGE, &uneven), error::EINVAL, "exchange of one page for two");
    let mut done = base;
    done.exchanged_count = 2;
    check_eq!(memory_op(op::EXCHANGE, &done), error::EINVAL, "exchange, more extents done than requested");
    let mut other = base;
    other.output.domain.0 = 0x123;
    check_eq!(memory_op(op::EXCHANGE, &other), error::EINVAL, "exchange with two domains");
    let mut order = base;
    order.input.extent_order = 40;
    order.output.extent_order = 40;
    let result = memory_op(op::EXCHANGE, &order);
    check!(
        result == error::EPERM || result == error::EINVAL || result == error::ENOMEM,
        "exchange, order 40: {result}"
    );
    check_eq!(memory_op(op::EXCHANGE, &base), error::EINVAL, "exchange of a page in use");
    check_eq!(tables::update_va(page, 0, 2), 0, "unmapping the page");
    check_eq!(memory_op(op::EXCHANGE, &base), 0, "exchange");
    let new: u64 = peek(output);
    check_eq!(m2p(new), pfn_of(page), "the new page's M2P entry");
    poke(kernel::memory::start_info().mfn_list + pfn_of(page) * 8, new);
    tables::unprotect(page);
}

fn refused() {
    let buffer = page();
    for op in [op::SHARING_OP + 8, 40, 63] {
        check_eq!(call!(number::MEMORY_OP, op, buffer), error::ENOSYS, "memory_op, unknown {op}");
    }
    if !initial_domain() {
        {
            let (op, name) = (op::MACHINE_MEMORY_MAP, "machine_memory_map");
            check_eq!(call!(number::MEMORY_OP, op, buffer), error::EPERM, "{name}");
        }
    }
    poke(buffer, [0u64; 8]);
    poke(buffer, domid::SELF);
    let result = call!(number::MEMORY_OP, op::ADD_TO_PHYSMAP, buffer);
    check!(result < 0, "add_to_physmap for a PV guest: {result}");
    let result = call!(number::MEMORY_OP, op::REMOVE_FROM_PHYSMAP, buffer);
    check!(result <= 0, "remove_from_physmap for a PV guest: {result}");
}
