//! Structures whose size a guest determines: how much is processed at a time, and the result if the
//! heap has no memory for them.

use std::format;
use std::vec::Vec;

use abi::errno::Errno;
use abi::grant_table::{CacheFlush, MapGrantRef, SetupTable, cache_flush, entry_flags, map_flags, op, status};
use abi::xen::DomainId;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::Budget;
use machine::hosted::heap::{refusing, set_short};
use zerocopy::FromZeros;

use super::{
    FREE_PAGE, GRANTEE, GRANTER, Limits, TABLE_PAGE, grant_table_op, map, map_at, map_own, pair, setup, unmap,
    unmap_at, write_entry,
};
use crate::call::{CallError, Continuation};
use crate::grant_table::dump::in_use;
use crate::grant_table::{COST_OF_CHUNK, COST_OF_FRAME, COST_OF_LISTING, COST_OF_RECORD};
use crate::testing::Guest;

#[test]
fn operations_without_heap_memory_are_refused() {
    let (mut a, mut b) = pair();
    let frames = a.domain.grants.table().frames();
    let full = |guests: (&mut Guest, &mut Guest)| {
        assert_eq!(setup(guests.0, frames + 1), Err(status::GENERAL_ERROR));
        assert_eq!(map(guests.1, 8, 0), Err(status::NO_SPACE));
    };
    // One record of a chunk, or of a frame's entries, fits; the chunk does not.
    refusing(2048, || full((&mut a, &mut b)));
    set_short(true);
    full((&mut a, &mut b));
    set_short(false);
    assert!(setup(&mut a, frames + 1).is_ok());
    let handle = map(&mut b, 8, 0).expect("there is room again");
    assert_eq!(unmap(&mut b, handle), status::OKAY);
}

#[test]
fn growing_and_listing_a_table_is_preemptible() {
    let mut guest = Guest::new(1, 4);
    let list = guest.address(1).get();
    let element =
        SetupTable { domain: DomainId::SELF, frame_count: 32, status: 7, frame_list: list, ..SetupTable::new_zeroed() };
    let array = guest.put(&element);
    let mut rounds = 0;
    while let Err(error) = grant_table_op(&mut guest.caller_with(1000), op::SETUP_TABLE, array, 1) {
        assert!(matches!(error, CallError::Continue(_)), "{error:?}");
        assert_eq!(guest.read::<SetupTable>(array).status, 7, "the status is not written yet");
        rounds += 1;
        assert!(rounds < 10, "no progress");
    }
    assert!(rounds >= 2, "not preempted");
    assert_eq!(guest.read::<SetupTable>(array).status, status::OKAY);
    let frames = guest.read::<[u64; 32]>(guest.address(1));
    assert!(frames.iter().all(|&frame| frame != 0));
    // Listing is charged as well, since a multicall may request it a thousand times.
    let mut caller = guest.caller();
    assert!(matches!(grant_table_op(&mut caller, op::SETUP_TABLE, array, 1), Ok(0)));
    assert_eq!(caller.budget.left(), Budget::HYPERCALL - 32 * COST_OF_LISTING);
}

#[test]
fn the_mappings_of_a_destroyed_domain_are_searched_by_chunk() {
    let (a, mut b) = pair();
    for _ in 0..300 {
        assert_eq!(map_at(&mut b, 8, map_flags::DEVICE_MAP, 0).status, status::OKAY);
    }
    drop(b.park());
    let domain = std::sync::Arc::clone(&b.domain);
    let mut rounds = 0;
    while !domain.grants.release_all(&domain, &mut Budget::new(1)) {
        rounds += 1;
        assert!(rounds < 1000, "no progress");
    }
    // Each record, the end of the first of two chunks, both chunks, and the one frame of the table.
    assert_eq!(rounds, 300 + 1 + 2 + 1);
    drop((a, b));
}

/// Number of chunks, too many to be searched in one call.
const CHUNKS: u32 = 120;

/// Maps entry 8 for devices, `count` times.
fn map_for_devices(guest: &mut Guest, count: u32) {
    let mut element = MapGrantRef::new_zeroed();
    (element.reference, element.domain, element.flags) = (8, GRANTER, map_flags::DEVICE_MAP);
    let array = guest.put(&[element; 64]);
    for _ in 0..count / 64 {
        assert!(grant_table_op(&mut guest.caller_with(u32::MAX), op::MAP_GRANT_REF, array, 64).is_ok());
    }
}

/// Calls `cache_flush` until it ends, with the arguments of each continuation. Returns the number
/// of rounds and the error.
fn flush_all(guest: &mut Guest, units: u32, array: GuestVirt, count: u32) -> (u32, Option<Errno>) {
    let (mut command, mut array, mut count) = (op::CACHE_FLUSH, array, count);
    for rounds in 1..1000 {
        match grant_table_op(&mut guest.caller_with(units), command, array, count) {
            Ok(_) => return (rounds, None),
            Err(CallError::Errno(errno)) => return (rounds, Some(errno)),
            Err(CallError::Continue(Continuation {
                arguments: [Some(next), Some(rest), Some(left), None],
                promotion: None,
            })) => {
                assert!((next as u32, rest) != (command, array.get()), "no progress");
                (command, array, count) = (next as u32, GuestVirt::new(rest), left as u32);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("no progress");
}

#[test]
fn a_search_through_many_mappings_is_preemptible_and_ends() {
    let (mut a, mut b) = pair();
    b.domain.grants.set_limits(Limits { frames: 1, mappings: (CHUNKS + 1) * 256 });
    map_for_devices(&mut b, CHUNKS * 256);
    let address = b.address(FREE_PAGE).get();
    let mfn = a.mfn(2);
    write_entry(&mut a, 9, entry_flags::PERMIT_ACCESS, GRANTEE, mfn);
    // The only mapping of that frame is in the last chunk.
    let last = map_at(&mut b, 9, map_flags::HOST_MAP, address);
    assert_eq!(last.status, status::OKAY);
    let of = |mfn: Mfn| CacheFlush {
        address_or_reference: mfn.address().get(),
        offset: 0,
        length: 1,
        operation: cache_flush::CLEAN,
    };
    let array = b.put(&[of(mfn), of(b.mfn(1)), of(mfn), of(a.mfn(1)), of(a.mfn(3))]);
    let (rounds, errno) = flush_all(&mut b, Budget::HYPERCALL, array, 3);
    assert_eq!(errno, None, "each search begins at the first chunk");
    assert!(rounds >= 5, "{rounds} rounds");
    let (rounds, errno) = flush_all(&mut b, 1, array, 5);
    assert_eq!(errno, Some(Errno::EINVAL), "the last frame is not mapped");
    assert!(rounds > 3 * CHUNKS, "a chunk at a time: {rounds} rounds");
    // A number beyond the last chunk.
    let command = op::CACHE_FLUSH | u32::MAX << 12;
    let refused = grant_table_op(&mut b.caller(), command, array, 1);
    assert!(matches!(refused, Err(CallError::Errno(Errno::EINVAL))), "{refused:?}");
    assert_eq!(unmap_at(&mut b, last.handle, address), status::OKAY);
}

#[test]
fn grants_are_counted_in_all_frames_and_chunks() {
    let (mut a, mut b) = pair();
    let frames = setup(&mut a, 3).expect("a table of three frames");
    map_own(&mut a, TABLE_PAGE + 1, frames[1]);
    assert_eq!(in_use(&a.domain, 8), (0, Vec::new()));
    map_for_devices(&mut b, 320);
    let mfn = a.mfn(2);
    write_entry(&mut a, 600, entry_flags::PERMIT_ACCESS, GRANTEE, mfn);
    let address = b.address(FREE_PAGE).get();
    assert_eq!(map_at(&mut b, 600, map_flags::HOST_MAP | map_flags::READONLY, address).status, status::OKAY);
    assert_eq!(b.domain.grants.mapped(), 321);
    let line = |reference, mfn: Mfn, readers, writers| {
        let (mfn, grantee) = (mfn.get(), GRANTEE.0);
        format!("grant {reference}: frame {mfn:#x} to d{grantee}, {readers} readers, {writers} writers")
    };
    let lines = [line(8, a.mfn(1), 0, 320), line(600, mfn, 1, 0)];
    assert_eq!(in_use(&a.domain, 8), (2, lines.into()));
}

#[test]
fn the_memory_for_mappings_is_freed_by_chunk() {
    let (a, mut b) = pair();
    b.domain.grants.set_limits(Limits { frames: 1, mappings: CHUNKS * 256 });
    map_for_devices(&mut b, CHUNKS * 256);
    drop(b.park());
    let release = |units| {
        let mut budget = Budget::new(units);
        (b.domain.grants.release_all(&b.domain, &mut budget), units - budget.left())
    };
    // Release all but the last record. The chunks still exist.
    let records = CHUNKS * 256 * COST_OF_RECORD + (CHUNKS - 1) * COST_OF_RECORD;
    assert_eq!(release(records), (false, records));
    assert_eq!(b.domain.grants.maptrack().chunk_has(CHUNKS as usize - 1, Mfn::new(0)), Some(false));
    let rest = COST_OF_RECORD + CHUNKS * COST_OF_CHUNK;
    assert_eq!(release(rest / 2), (false, rest / 2));
    let left = (0..CHUNKS).filter(|&chunk| b.domain.grants.maptrack().mapped_in(chunk as usize).is_some()).count();
    assert!((CHUNKS as usize / 2..CHUNKS as usize / 2 + 2).contains(&left), "{left} chunks left");
    assert!(release(rest + COST_OF_FRAME).0);
    assert_eq!(b.domain.grants.maptrack().chunk_has(0, Mfn::new(0)), None);
    drop((a, b));
}
