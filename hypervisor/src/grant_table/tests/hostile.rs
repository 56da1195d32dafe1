//! Destruction of domains with grants in use, and guests that violate the protocol.

use std::sync::atomic::{AtomicBool, Ordering};

use abi::grant_table::{entry_flags, map_flags, status};
use machine::frames::{self, Budget};
use machine::paging::Entry;

use super::{
    FREE_PAGE, GRANTEE, GRANTER, IN_USE, Limits, flags_of, map, map_at, pair, set_word, setup, unmap, word, write_entry,
};
use crate::limits::Limit;
use crate::memory::update;
use crate::testing::rounds;

#[test]
fn a_destroyed_grantee_releases_its_mappings() {
    let (mut a, mut b) = pair();
    for page in 0..40 {
        let address = b.address(FREE_PAGE + page).get();
        assert_eq!(map_at(&mut b, 8, map_flags::HOST_MAP, address).status, status::OKAY);
    }
    assert_eq!(flags_of(&mut a, 8) & IN_USE, IN_USE);
    let domain = b.domain.clone();
    assert!(!domain.grants.release_all(&domain, &mut Budget::new(64)), "the budget is too small for all");
    drop(b);
    assert_eq!(flags_of(&mut a, 8), entry_flags::PERMIT_ACCESS);
    assert_eq!(frames::owned_by(GRANTEE), 1, "the shared info page, until the domain is freed");
}

#[test]
fn mappings_survive_the_destruction_of_the_granter() {
    let (mut a, mut b) = pair();
    let handle = map(&mut b, 8, 0).expect("granted");
    set_word(&mut a, 1, 3);
    drop(a);
    assert_eq!(word(&mut b, FREE_PAGE), Some(3));
    assert_eq!(frames::owned_by(GRANTER), 2, "the shared info page and the granted one");
    assert_eq!(unmap(&mut b, handle), status::OKAY);
    assert_eq!(frames::owned_by(GRANTER), 1);
    assert_eq!(map(&mut b, 8, 0), Err(status::BAD_GNTREF));
}

#[test]
fn a_mapping_that_the_guest_removes_itself_remains_in_use() {
    let (mut a, mut b) = pair();
    let handle = map(&mut b, 8, 0).expect("granted");
    let address = b.address(FREE_PAGE);
    let nothing = Entry::empty();
    drop(update::write_l1_for_va(&b.caller(), address, nothing).expect("a table"));
    assert_eq!(unmap(&mut b, handle), status::GENERAL_ERROR);
    assert_eq!(flags_of(&mut a, 8) & IN_USE, IN_USE, "no flush has occurred");
    drop(b);
    assert_eq!(flags_of(&mut a, 8) & IN_USE, 0);
}

#[test]
fn an_entry_rewritten_while_in_use_grants_no_other_frame() {
    let (mut a, mut b) = pair();
    let handle = map(&mut b, 8, map_flags::READONLY).expect("granted");
    let other = a.mfn(2);
    write_entry(&mut a, 8, entry_flags::PERMIT_ACCESS, GRANTEE, other);
    set_word(&mut a, 1, 1);
    set_word(&mut a, 2, 2);
    let address = b.address(FREE_PAGE + 1).get();
    let second = map_at(&mut b, 8, map_flags::HOST_MAP, address);
    assert_eq!(second.status, status::OKAY);
    assert_eq!(word(&mut b, FREE_PAGE + 1), Some(1), "the frame is the one of the first use");
    write_entry(&mut a, 8, 0, GRANTER, other);
    assert_eq!(unmap(&mut b, handle), status::OKAY);
    assert_eq!(super::unmap_at(&mut b, second.handle, address), status::OKAY);
    assert_eq!(flags_of(&mut a, 8), 0);
    assert_eq!(map(&mut b, 8, 0), Err(status::GENERAL_ERROR));
}

#[test]
fn handles_are_limited_and_reusable() {
    let (_a, mut b) = pair();
    b.domain.grants.set_limits(Limits { frames: 1, mappings: 256 });
    let mut handles = std::vec::Vec::new();
    let refused = loop {
        let element = map_at(&mut b, 8, map_flags::DEVICE_MAP, 0);
        if element.status != status::OKAY {
            break element.status;
        }
        handles.push((element.handle, element.device_bus_address));
    };
    assert_eq!((refused, handles.len()), (status::NO_SPACE, 256));
    assert!(b.domain.reported_limits.has(Limit::GrantMappings), "and the limit is logged");
    let mut seen: std::vec::Vec<u32> = handles.iter().map(|(handle, _)| *handle).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 256);
    for (handle, device_bus_address) in handles.into_iter().take(3) {
        let mut element: abi::grant_table::UnmapGrantRef = zerocopy::FromZeros::new_zeroed();
        (element.handle, element.device_bus_address) = (handle, device_bus_address);
        let done = super::call(&mut b, abi::grant_table::op::UNMAP_GRANT_REF, element).expect("one element");
        assert_eq!(done.status, status::OKAY);
    }
    assert_eq!(map_at(&mut b, 8, map_flags::DEVICE_MAP, 0).status, status::OKAY);
}

/// The granter overwrites the entry continuously while the grantee maps and unmaps it.
#[test]
fn a_granter_that_overwrites_entries_harms_only_itself() {
    let (mut a, b) = pair();
    let free = frames::free_frames();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        let mut b = b;
        scope.spawn(move || {
            for round in 0..rounds(20_000) {
                let flags = if round % 2 == 0 { 0 } else { map_flags::READONLY };
                if let Ok(handle) = map(&mut b, 8, flags) {
                    assert_eq!(unmap(&mut b, handle), status::OKAY);
                }
            }
            assert_eq!(b.domain.grants.mapped(), 0);
            done.store(true, Ordering::SeqCst);
            // The rest of the thread's state is dropped with it.
            std::mem::forget(b);
        });
        let mut state = 7u32;
        let pages = [a.mfn(1), a.mfn(2), machine::addr::Mfn::new(1 << 30)];
        while !done.load(Ordering::SeqCst) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let flags = (state >> 20) as u16 & 0x1f;
            write_entry(&mut a, 8, flags, GRANTEE, pages[(state >> 8) as usize % 3]);
        }
    });
    assert_eq!(frames::free_frames(), free);
}

#[test]
fn a_closed_table_stays_closed() {
    let (a, mut b) = pair();
    let handle = map(&mut b, 8, 0).expect("granted");
    assert!(a.domain.grants.release_all(&a.domain, &mut Budget::new(1000)));
    // Code that has found the domain alive requests its frames.
    assert!(a.domain.grants.grow(1, &mut Budget::new(1000)).is_err());
    // Ending the use of an entry that no longer exists has no effect.
    assert_eq!(unmap(&mut b, handle), status::OKAY);
}

#[test]
fn tables_and_handles_do_not_grow_while_the_heap_is_short() {
    let (mut a, mut b) = pair();
    machine::hosted::heap::set_short(true);
    assert_eq!(map(&mut b, 8, 0), Err(status::NO_SPACE));
    assert!(b.domain.reported_limits.has(Limit::OwnMemory) && !b.domain.reported_limits.has(Limit::GrantMappings));
    assert_eq!(setup(&mut a, 2), Err(status::GENERAL_ERROR));
    machine::hosted::heap::set_short(false);
    assert!(map(&mut b, 8, 0).is_ok());
    assert!(setup(&mut a, 2).is_ok());
}
