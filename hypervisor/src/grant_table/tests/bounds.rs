//! What a guest decides the size of: how far it goes at a time, and what happens where there is no
//! memory for it.

use abi::grant_table::{SetupTable, map_flags, op, status};
use abi::xen::DomainId;
use machine::frames::Budget;
use machine::hosted::heap::{refusing, set_short};
use zerocopy::FromZeros;

use super::{grant_table_op, map, map_at, pair, setup, unmap};
use crate::grant_table::COST_OF_LISTING;
use crate::hypercall::CallError;
use crate::testing::Guest;

#[test]
fn what_the_heap_has_no_room_for_is_refused() {
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
fn a_table_grows_and_is_listed_as_far_as_the_budget_goes() {
    let mut guest = Guest::new(1, 4);
    let list = guest.address(1).get();
    let element =
        SetupTable { domain: DomainId::SELF, frame_count: 32, status: 7, frame_list: list, ..SetupTable::new_zeroed() };
    let array = guest.put(&element);
    let mut rounds = 0;
    while let Err(error) = grant_table_op(&mut guest.caller_with(1000), op::SETUP_TABLE, array, 1) {
        assert!(matches!(error, CallError::Continue { .. }), "{error:?}");
        assert_eq!(guest.read::<SetupTable>(array).status, 7, "nothing is said yet");
        rounds += 1;
        assert!(rounds < 10, "there is no end to it");
    }
    assert!(rounds >= 2, "all at once");
    assert_eq!(guest.read::<SetupTable>(array).status, status::OKAY);
    let frames = guest.read::<[u64; 32]>(guest.address(1));
    assert!(frames.iter().all(|&frame| frame != 0));
    // The list alone is counted as well: a multicall may ask for it a thousand times.
    let mut caller = guest.caller();
    assert!(matches!(grant_table_op(&mut caller, op::SETUP_TABLE, array, 1), Ok(0)));
    assert_eq!(caller.budget.left(), Budget::HYPERCALL - 32 * COST_OF_LISTING);
}

#[test]
fn the_mappings_of_a_domain_that_ends_are_looked_through_a_chunk_at_a_time() {
    let (a, mut b) = pair();
    for _ in 0..300 {
        assert_eq!(map_at(&mut b, 8, map_flags::DEVICE_MAP, 0).status, status::OKAY);
    }
    drop(b.park());
    let domain = std::sync::Arc::clone(&b.domain);
    let mut rounds = 0;
    while !domain.grants.release_all(&domain, &mut Budget::new(16)) {
        rounds += 1;
        assert!(rounds < 1000, "there is no end to it");
    }
    // Each record, the end of the first of two chunks, and the one frame of the table.
    assert_eq!(rounds, 300 + 1 + 1);
    drop((a, b));
}
