//! Calls on memory and grants: long lists, a search for a frame among many mappings, and extents of
//! 2 MiB, the maximum of one hypercall.

use kernel::abi::grant_table::{
    CacheFlush, MapGrantRef, SetupTable, cache_flush, entry_flags, map_flags, op as grant_op, status,
};
use kernel::abi::memory::{Exchange, MachphysMfnList, Reservation, op};
use kernel::abi::xen::DomainId;
use kernel::call::number;
use kernel::grants;
use kernel::memory::{m2p, mfn_of, p2m, page, peek, poke, total_pages, zeroed};
use kernel::{call, check, check_eq, say, time};

use crate::{Bench, CALLS, ENTRY, gap};

const ORDER: u32 = 9;
/// Number of frames in an extent.
const EXTENT: u64 = 1 << ORDER;
/// Minimum number of mappings among which a frame is searched for.
const MAPPINGS: u64 = 120_000;
/// The grant that is mapped repeatedly.
const REFERENCE: u32 = 100;

pub(crate) fn all(bench: &Bench) {
    let list = page();
    let argument = bench.put(MachphysMfnList { max_extents: u32::MAX, extent_start: list, ..zeroed() });
    bench.same("machphys_mfn_list", number::MEMORY_OP, [op::MACHPHYS_MFN_LIST.into(), argument, 0]);
    let table = SetupTable { domain: DomainId::SELF, frame_count: 32, frame_list: list, ..zeroed() };
    let argument = bench.put(table);
    bench.same("setup_table", number::GRANT_TABLE_OP, [grant_op::SETUP_TABLE.into(), argument, 1]);
    check_eq!(peek::<SetupTable>(argument).status, status::OKAY, "setup_table");
    // Beyond the maximum: nothing is allocated.
    let argument = bench.put(side(list, 1, ORDER));
    bench.same("populate_physmap beyond the maximum", number::MEMORY_OP, [op::POPULATE_PHYSMAP.into(), argument, 0]);
    searched(bench);
    extents(bench);
}

/// Searches for a frame that is not mapped among many device mappings of one grant to the guest
/// itself.
fn searched(bench: &Bench) {
    grants::start();
    let frame = mfn_of(page());
    // No other domain has granted anything, so the id with which a mapping succeeds is the guest's
    // own.
    let own = (0..64).find(|&domain| {
        grants::grant(REFERENCE, domain, frame, entry_flags::PERMIT_ACCESS);
        map_for_devices(bench, DomainId(domain), 1) == status::OKAY
    });
    let own = DomainId(own.unwrap_or(0));
    let room = CALLS * ENTRY / size_of::<MapGrantRef>() as u64;
    for _ in 0..MAPPINGS.div_ceil(room) {
        check_eq!(map_for_devices(bench, own, room), status::OKAY, "map_grant_ref");
    }
    let search = CacheFlush { address_or_reference: 0, offset: 0, length: 1, operation: cache_flush::CLEAN };
    let argument = bench.put(search);
    bench.same("cache_flush, not mapped", number::GRANT_TABLE_OP, [grant_op::CACHE_FLUSH.into(), argument, 1]);
}

/// Maps the grant `count` times. Returns the last status.
fn map_for_devices(bench: &Bench, domain: DomainId, count: u64) -> i16 {
    let size = size_of::<MapGrantRef>() as u64;
    let map = MapGrantRef { flags: map_flags::DEVICE_MAP, reference: REFERENCE, domain, ..zeroed() };
    (0..count).for_each(|index| poke(bench.list + index * size, map));
    check_eq!(call!(number::GRANT_TABLE_OP, grant_op::MAP_GRANT_REF, bench.list, count), 0, "map_grant_ref");
    peek::<MapGrantRef>(bench.list + (count - 1) * size).status
}

fn side(list: u64, count: u64, order: u32) -> Reservation {
    Reservation { extent_start: list, extent_count: count, extent_order: order, domain: DomainId::SELF, ..zeroed() }
}

/// Runs `work`, a hypercall, and measures the longest time without an event.
fn alone(bench: &Bench, name: &str, work: impl FnOnce()) {
    gap::reset();
    let start = time::tsc();
    work();
    let (took, longest) = (time::tsc() - start, gap::longest());
    say!("{name}: {took} ticks, {longest} without an event");
    check!(longest <= bench.limit, "{name}: no event for {longest} ticks, {} are allowed", bench.limit);
}

/// The guest's last frames, which are not mapped: exchanged for an extent, exchanged back for
/// single ones, released, and allocated again.
fn extents(bench: &Bench) {
    let first = total_pages() - EXTENT;
    let (singles, extents) = (page(), page());
    let exchange = |name: &str, input: Reservation, output: Reservation| {
        let mut request = Exchange { input, output, ..zeroed() };
        alone(bench, name, || {
            check_eq!(call!(number::MEMORY_OP, op::EXCHANGE, &mut request), 0, "exchange");
        });
        check_eq!(request.exchanged_count, input.extent_count, "exchanged extents");
    };
    let change = |name: &str, operation: u32, wanted: Reservation| {
        alone(bench, name, || {
            let done = call!(number::MEMORY_OP, operation, &wanted) as u64;
            check_eq!(done, wanted.extent_count, "extents of operation {operation}");
        });
    };
    (0..EXTENT).for_each(|offset| poke(singles + offset * 8, p2m(first + offset)));
    for round in 0..4u64 {
        poke(extents, first);
        exchange("exchange for an extent", side(singles, EXTENT, 0), side(extents, 1, ORDER));
        let extent: u64 = peek(extents);
        check!(extent.is_multiple_of(EXTENT), "the extent {extent:#x} is not aligned");
        check_eq!(m2p(extent + EXTENT - 1), first + EXTENT - 1, "the number of its last frame");
        (0..EXTENT).for_each(|offset| poke(singles + offset * 8, first + offset));
        if round % 2 == 0 {
            exchange("exchange of an extent", side(extents, 1, ORDER), side(singles, EXTENT, 0));
            check_eq!(m2p(peek(singles)), first, "the number of a single frame");
            continue;
        }
        change("decrease by an extent", op::DECREASE_RESERVATION, side(extents, 1, ORDER));
        if round == 1 {
            poke(extents, first);
            change("populate with an extent", op::POPULATE_PHYSMAP, side(extents, 1, ORDER));
            let extent: u64 = peek(extents);
            (0..EXTENT).for_each(|offset| poke(singles + offset * 8, extent + offset));
        } else {
            change("populate with single frames", op::POPULATE_PHYSMAP, side(singles, EXTENT, 0));
        }
    }
}
