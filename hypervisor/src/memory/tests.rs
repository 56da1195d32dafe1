//! Page-table updates by hypercall, and the errors with which they are refused.

use abi::errno::Errno;
use abi::memory::{Reservation, op};
use abi::xen::{DomainId, MmuUpdate, MmuextOp, domid, mmu_command, mmuext, vm_assist};
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::{FrameRef, L4, TypedRef};
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::FromZeros;

use super::memory_op::memory_op;
use super::mmu_update::{mmu_update, single};
use super::mmuext::mmuext_op;
use crate::call::{CallError, CallResult};
use crate::testing::{Guest, MAPPED};

const NOWHERE: GuestVirt = GuestVirt::new(0xdead_0000);
const NULL: GuestVirt = GuestVirt::new(0);
/// The root-table slot of the M2P.
const M2P_SLOT: u16 = 256;

#[track_caller]
fn refused(result: CallResult, errno: Errno) {
    assert!(matches!(result, Err(CallError::Errno(found)) if found == errno), "{result:?}, not {errno:?}");
}

fn update(guest: &mut Guest, pointer: u64, value: u64, foreign: u32) -> CallResult {
    let list = guest.put(&MmuUpdate { pointer, value });
    mmu_update(&mut guest.caller(), list, 1, NULL, foreign)
}

fn extended(guest: &mut Guest, command: u32, argument2: u64) -> CallResult {
    let mut operation = MmuextOp::new_zeroed();
    (operation.command, operation.argument2) = (command, argument2);
    let list = guest.put(&operation);
    mmuext_op(&mut guest.caller(), list, 1, NULL, DomainId::SELF)
}

#[test]
fn unaligned_entry_addresses_are_refused() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    let entry = guest.entry(2);
    assert!(update(&mut guest, at, entry, u32::from(domid::SELF)).is_ok());
    refused(update(&mut guest, at | 4, entry, u32::from(domid::SELF)), Errno::ENOSYS);
}

/// The fast path for a single update makes the same change as the slow path, or none.
#[test]
fn the_fast_path_is_equivalent_to_a_list_of_one() {
    let mut guest = Guest::new(1, 4);
    let (at, frame) = (guest.entry_address(2), guest.entry(2) & !0xfff);
    let foreign = u64::from(domid::SELF);
    let values = [
        0,
        0xdead_bee0,
        frame | MAPPED,
        frame | MAPPED & !2,
        frame | MAPPED | 0x240,
        guest.entry(3),
        at & !0xfff | MAPPED,
        at & !0xfff | MAPPED & !2,
        1 << 50 | MAPPED,
        frame | MAPPED | 0x10,
    ];
    for before in values {
        for after in values {
            for command in 0..4 {
                let mut outcomes = Vec::new();
                for short in [false, true] {
                    let _ = update(&mut guest, at, 0, domid::SELF.into());
                    let _ = update(&mut guest, at, before, domid::SELF.into());
                    let list = guest.put(&MmuUpdate { pointer: at | command, value: after });
                    let crate::call::Caller { domain, cpu, .. } = guest.caller();
                    let done = short && single(cpu, domain, &[list.get(), 1, 0, foreign, 0, 0]);
                    if !done {
                        let _ = mmu_update(&mut guest.caller(), list, 1, NULL, domid::SELF.into());
                    }
                    assert!(done || !short || after != frame | MAPPED || command % 2 == 1, "{before:x} {after:x}");
                    let frame = FrameRef::get_any(guest.mfn(2)).unwrap();
                    outcomes.push((guest.entry(2), frame.count(), frame.current_kind()));
                }
                assert_eq!(outcomes[0], outcomes[1], "{before:x} to {after:x} by {command}");
            }
        }
    }
}

/// A list makes the same changes as its updates one by one, although it keeps the table between
/// updates and copies requests in chunks.
#[test]
fn a_list_is_equivalent_to_single_updates() {
    const PAGES: core::ops::Range<usize> = 4..8;
    const DONE: u64 = 4000;
    let guest = RefCell::new(Guest::new(1, PAGES.end));
    let target = prop::sample::select(&[4usize, 5, 6, 7, 4, 5, 6, 7, 100, 101, 200][..]);
    let what = prop::sample::select(&[0usize, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7][..]);
    let flags = prop::sample::select(&[MAPPED, MAPPED & !2, MAPPED & !0x60, MAPPED | 0x10, MAPPED & !1][..]);
    let command = prop::sample::select(&[mmu_command::NORMAL_PT_UPDATE, mmu_command::PT_UPDATE_PRESERVE_AD][..]);
    let list = prop::collection::vec((target, what, flags, command), 1..40);
    proptest!(ProptestConfig::with_cases(500), |(list in list)| {
        let guest = &mut *guest.borrow_mut();
        let done = guest.address(0).offset(DONE);
        let table = guest.entry_address(0) & !0xfff;
        let requests: Vec<MmuUpdate> = list.iter().map(|&(target, what, flags, command)| MmuUpdate {
            pointer: command | match target {
                100 | 101 => (guest.mfn(2).address().get()) + 8 * (target as u64 - 90),
                200 => 1 << 50,
                page => guest.entry_address(page),
            },
            value: match what {
                0 => 0xdead_bee0,
                1 => table | flags,
                2 => 1 << 50 | flags,
                3 => guest.mfn(3).address().get() | flags,
                page => guest.mfn(page).address().get() | flags,
            },
        }).collect();
        let mut outcomes = Vec::new();
        for at_once in [false, true] {
            for page in PAGES {
                let (at, value) = (guest.entry_address(page), guest.mfn(page).address().get() | MAPPED);
                prop_assert!(update(guest, at, value, domid::SELF.into()).is_ok());
            }
            for word in [100, 101] {
                let at = guest.mfn(2).address().get() + 8 * (word - 90);
                prop_assert!(update(guest, at, 0, domid::SELF.into()).is_ok());
            }
            let (mut number, mut result) = (0, Ok(0));
            if at_once {
                let at = guest.put(&requests[..]);
                result = mmu_update(&mut guest.caller(), at, requests.len() as u32, done, domid::SELF.into());
                number = guest.read::<u32>(done);
            } else {
                for request in &requests {
                    result = update(guest, request.pointer, request.value, domid::SELF.into());
                    if result.is_err() {
                        break;
                    }
                    number += 1;
                }
            }
            let error = result.err().map(|error| match error {
                CallError::Errno(errno) => errno,
                other => panic!("{other:?}"),
            });
            let words = [0, 1].map(|word| guest.read::<u64>(guest.address(2).offset(8 * (10 + word))));
            let counts = |mfn| FrameRef::get_any(mfn).map(|frame| (frame.count(), frame.current_kind()));
            let frames: Vec<_> = (2..PAGES.end).map(|page| counts(guest.mfn(page))).collect();
            let entries: Vec<_> = PAGES.map(|page| guest.entry(page)).collect();
            outcomes.push((error, number, entries, words, frames, counts(Mfn::new(table >> 12))));
        }
        prop_assert_eq!(&outcomes[0], &outcomes[1]);
    });
}

/// Unreadable memory after a request does not affect the requests before it.
#[test]
fn an_unreadable_request_does_not_affect_earlier_ones() {
    let mut guest = Guest::new(1, 6);
    let (at, value) = (guest.entry_address(4), guest.mfn(4).address().get() | MAPPED);
    let (hole, whole) = (guest.entry_address(2), guest.entry(2));
    for readable in [1, 3, 8, 11] {
        let list = guest.address(2).get() - readable * 16;
        let requests = [0; 11].map(|_: u32| MmuUpdate { pointer: at, value });
        let list = GuestVirt::new(list);
        guest.caller().cpu.write(list, &requests[..readable as usize]).expect("a mapped page");
        assert!(update(&mut guest, hole, 0, domid::SELF.into()).is_ok());
        let done = guest.address(5);
        refused(mmu_update(&mut guest.caller(), list, 30, done, domid::SELF.into()), Errno::EFAULT);
        assert_eq!(guest.read::<u32>(done), readable as u32);
        assert!(update(&mut guest, hole, whole, domid::SELF.into()).is_ok());
    }
}

#[test]
fn a_writable_mapping_of_a_page_table_is_ebusy() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    let before = guest.entry(2);
    let table = at & !0xfff;
    refused(update(&mut guest, at, table | MAPPED, u32::from(domid::SELF)), Errno::EBUSY);
    assert_eq!(guest.entry(2), before);
}

#[test]
fn a_guest_cannot_map_frames_that_are_not_ram() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    refused(update(&mut guest, at, 0xff_ffff_f000 | MAPPED, u32::from(domid::SELF)), Errno::EPERM);
}

#[test]
fn a_guest_cannot_name_the_owners_of_machine_frames() {
    let mut guest = Guest::new(1, 3);
    let (at, entry) = (guest.entry_address(2), guest.entry(2));
    refused(update(&mut guest, at, entry, u32::from(domid::XEN)), Errno::EPERM);
    refused(update(&mut guest, at, entry, u32::from(domid::IO)), Errno::EPERM);
    refused(update(&mut guest, at, entry, 0x123), Errno::ESRCH);
}

#[test]
fn a_flush_with_an_unreadable_mask_is_einval() {
    let mut guest = Guest::new(1, 2);
    let mask = guest.address(1).get();
    for command in [mmuext::TLB_FLUSH_MULTI, mmuext::INVLPG_MULTI] {
        assert!(extended(&mut guest, command, mask).is_ok());
        refused(extended(&mut guest, command, NOWHERE.get()), Errno::EINVAL);
    }
}

#[test]
fn a_reservation_call_that_cannot_start_returns_zero() {
    let mut guest = Guest::new(1, 2);
    let mut other = Reservation::new_zeroed();
    (other.extent_start, other.extent_count, other.domain) = (guest.address(1).get(), 1, DomainId(0x123));
    for operation in [op::INCREASE_RESERVATION, op::DECREASE_RESERVATION, op::POPULATE_PHYSMAP] {
        assert!(matches!(memory_op(&mut guest.caller(), operation.into(), NOWHERE), Ok(0)));
        let request = guest.put(&other);
        assert!(matches!(memory_op(&mut guest.caller(), operation.into(), request), Ok(0)));
    }
}

#[test]
fn maximum_gpfn_is_zero_until_the_guest_sets_its_limit() {
    let mut guest = Guest::new(1, 2);
    let request = guest.put(&domid::SELF);
    assert!(matches!(memory_op(&mut guest.caller(), op::MAXIMUM_GPFN.into(), request), Ok(0)));
}

#[test]
fn m2p_strict_hides_the_m2p_from_user_roots() {
    let mut guest = Guest::new(1, 2);
    let root: TypedRef<L4> = guest.caller().cpu.context().kernel_root().expect("a root").again();
    let shown = root.entry(M2P_SLOT);
    let hidden = || root.entry(M2P_SLOT).is_empty() && !shown.is_empty();
    guest.domain.prepare_user_root(&root, None);
    assert!(!hidden(), "without the assist the M2P is visible");
    guest.domain.assists.fetch_or(1 << vm_assist::M2P_STRICT, Ordering::SeqCst);
    guest.domain.prepare_user_root(&root, Some(&root));
    assert!(!hidden(), "the kernel uses the same root");
    guest.domain.prepare_user_root(&root, None);
    assert!(hidden());
    guest.domain.prepare_kernel_root(&root);
    assert_eq!(root.entry(M2P_SLOT), shown);
}

#[test]
fn released_frames_that_are_still_referenced_are_limited() {
    let mut guest = Guest::new(1, 2);
    let list = guest.address(0).offset(1024);
    let mut reserve = |operation: u32| {
        let mut reservation = Reservation::new_zeroed();
        (reservation.extent_start, reservation.extent_count) = (list.get(), 1);
        reservation.domain = DomainId::SELF;
        let argument = guest.put(&reservation);
        matches!(memory_op(&mut guest.caller(), operation.into(), argument), Ok(1)).then(|| guest.read::<u64>(list))
    };
    // References as a mapping would hold them.
    let mut kept = Vec::new();
    while let Some(mfn) = reserve(op::POPULATE_PHYSMAP) {
        kept.push(FrameRef::get(Mfn::new(mfn), DomainId(1)).expect("a frame of its own"));
        assert!(reserve(op::DECREASE_RESERVATION).is_some());
        assert!(kept.len() < 3000, "the number of kept frames is not limited");
    }
    assert!(kept.len() > 1000, "some kept frames are allowed");
    kept.truncate(10);
    assert!(reserve(op::POPULATE_PHYSMAP).is_some());
}

#[test]
fn a_guest_cannot_choose_memory_types() {
    let mut guest = Guest::new(1, 3);
    let (at, entry) = (guest.entry_address(2), guest.entry(2));
    for attributes in [1 << 3, 1 << 4, 1 << 7, 3 << 3, 1 << 7 | 3 << 3] {
        refused(update(&mut guest, at, entry | attributes, u32::from(domid::SELF)), Errno::EINVAL);
        refused(update(&mut guest, at, entry & !2 | attributes, u32::from(domid::SELF)), Errno::EINVAL);
    }
    assert_eq!(guest.entry(2), entry);
}

#[test]
fn absent_entries_that_name_memory_are_refused() {
    let mut guest = Guest::new(1, 6);
    let (leaf, entry) = (guest.entry_address(2), guest.entry(2));
    let (upper, upper_entry) = guest.upper_entry();
    let me = u32::from(domid::SELF);
    let absent = entry & !0xfff | 0x66;
    for (pointer, value) in [(leaf, absent), (leaf, entry & !1), (upper, upper_entry & !1)] {
        refused(update(&mut guest, pointer, value, me), Errno::EINVAL);
    }
    assert_eq!((guest.entry(2), guest.upper_entry().1), (entry, upper_entry), "nothing has changed");
    // A page becomes a table with such an entry.
    let page = guest.mfn(3);
    for level in [mmuext::PIN_L1_TABLE, mmuext::PIN_L2_TABLE, mmuext::PIN_L3_TABLE, mmuext::PIN_L4_TABLE] {
        assert!(update(&mut guest, page.address().get(), absent, me).is_ok(), "it is plain memory");
        let mapping = guest.entry(3);
        let at = guest.entry_address(3);
        assert!(update(&mut guest, at, mapping & !2, me).is_ok());
        let mut operation = MmuextOp::new_zeroed();
        (operation.command, operation.argument1) = (level, page.get());
        let list = guest.put(&operation);
        refused(mmuext_op(&mut guest.caller(), list, 1, NULL, DomainId::SELF), Errno::EINVAL);
        assert!(update(&mut guest, at, mapping, me).is_ok());
    }
    // Beyond memory, or inverted, it may stay.
    for value in [0x66, 1 << 30 | 0x66, !entry & 0x000f_ffff_ffff_f000] {
        assert!(update(&mut guest, leaf, value, me).is_ok(), "{value:#x}");
        assert_eq!(guest.entry(2), value);
    }
}

#[test]
fn the_initial_domain_may_have_absent_entries_that_name_memory() {
    let mut guest = Guest::privileged(0, 4);
    let (at, entry) = (guest.entry_address(2), guest.entry(2));
    assert!(update(&mut guest, at, entry & !1, u32::from(domid::SELF)).is_ok());
    assert_eq!(guest.entry(2), entry & !1);
}
