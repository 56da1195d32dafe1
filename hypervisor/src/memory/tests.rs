//! What a guest may do to page tables, by the hypercalls, and with which error it is refused.

use abi::errno::Errno;
use abi::memory::{Reservation, op};
use abi::xen::{DomainId, MmuUpdate, MmuextOp, domid, mmuext, vm_assist};
use core::sync::atomic::Ordering;
use machine::addr::{GuestVirt, Mfn};
use machine::frames::{FrameRef, L4, TypedRef};
use std::vec::Vec;
use zerocopy::FromZeros;

use super::memory_op::memory_op;
use super::mmu_update::{mmu_update, single};
use super::mmuext::mmuext_op;
use crate::hypercall::{CallError, CallResult};
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
fn an_entry_is_named_by_an_aligned_address() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    let entry = guest.entry(2);
    assert!(update(&mut guest, at, entry, u32::from(domid::SELF)).is_ok());
    refused(update(&mut guest, at | 4, entry, u32::from(domid::SELF)), Errno::ENOSYS);
}

/// The short way of a single update changes what the long one would, or nothing.
#[test]
fn a_single_update_does_what_a_list_of_one_does() {
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
                    let crate::hypercall::Caller { domain, cpu, .. } = guest.caller();
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

#[test]
fn a_table_is_busy_for_a_writable_mapping() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    let before = guest.entry(2);
    let table = at & !0xfff;
    refused(update(&mut guest, at, table | MAPPED, u32::from(domid::SELF)), Errno::EBUSY);
    assert_eq!(guest.entry(2), before);
}

#[test]
fn what_is_no_memory_is_not_the_guests_to_map() {
    let mut guest = Guest::new(1, 3);
    let at = guest.entry_address(2);
    refused(update(&mut guest, at, 0xff_ffff_f000 | MAPPED, u32::from(domid::SELF)), Errno::EPERM);
}

#[test]
fn the_machines_own_frames_have_owners_that_a_guest_may_not_name() {
    let mut guest = Guest::new(1, 3);
    let (at, entry) = (guest.entry_address(2), guest.entry(2));
    refused(update(&mut guest, at, entry, u32::from(domid::XEN)), Errno::EPERM);
    refused(update(&mut guest, at, entry, u32::from(domid::IO)), Errno::EPERM);
    refused(update(&mut guest, at, entry, 0x123), Errno::ESRCH);
}

#[test]
fn a_flush_whose_mask_cannot_be_read_is_invalid() {
    let mut guest = Guest::new(1, 2);
    let mask = guest.address(1).get();
    for command in [mmuext::TLB_FLUSH_MULTI, mmuext::INVLPG_MULTI] {
        assert!(extended(&mut guest, command, mask).is_ok());
        refused(extended(&mut guest, command, NOWHERE.get()), Errno::EINVAL);
    }
}

#[test]
fn a_reservation_call_that_cannot_begin_has_done_nothing() {
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
fn a_guest_that_has_not_said_how_many_frames_it_numbers_has_highest_frame_zero() {
    let mut guest = Guest::new(1, 2);
    let request = guest.put(&domid::SELF);
    assert!(matches!(memory_op(&mut guest.caller(), op::MAXIMUM_GPFN.into(), request), Ok(0)));
}

#[test]
fn under_the_assist_roots_of_processes_do_not_show_the_m2p() {
    let mut guest = Guest::new(1, 2);
    let root: TypedRef<L4> = guest.caller().cpu.context().kernel_root().expect("a root").again();
    let shown = root.entry(M2P_SLOT);
    let hidden = || root.entry(M2P_SLOT).is_empty() && !shown.is_empty();
    guest.domain.prepare_user_root(&root, None);
    assert!(!hidden(), "without the assist nothing is hidden");
    guest.domain.assists.fetch_or(1 << vm_assist::M2P_STRICT, Ordering::SeqCst);
    guest.domain.prepare_user_root(&root, Some(&root));
    assert!(!hidden(), "the kernel has the same root");
    guest.domain.prepare_user_root(&root, None);
    assert!(hidden());
    guest.domain.prepare_kernel_root(&root);
    assert_eq!(root.entry(M2P_SLOT), shown);
}

#[test]
fn frames_given_up_but_kept_from_going_count() {
    let mut guest = Guest::new(1, 2);
    let list = guest.address(0).offset(1024);
    let mut reserve = |operation: u32| {
        let mut reservation = Reservation::new_zeroed();
        (reservation.extent_start, reservation.extent_count) = (list.get(), 1);
        reservation.domain = DomainId::SELF;
        let argument = guest.put(&reservation);
        matches!(memory_op(&mut guest.caller(), operation.into(), argument), Ok(1)).then(|| guest.read::<u64>(list))
    };
    // What a mapping would hold.
    let mut kept = Vec::new();
    while let Some(mfn) = reserve(op::POPULATE_PHYSMAP) {
        kept.push(FrameRef::get(Mfn::new(mfn), DomainId(1)).expect("a frame of its own"));
        assert!(reserve(op::DECREASE_RESERVATION).is_some());
        assert!(kept.len() < 3000, "there is no end to it");
    }
    assert!(kept.len() > 1000, "some are no offence");
    kept.truncate(10);
    assert!(reserve(op::POPULATE_PHYSMAP).is_some());
}

#[test]
fn memory_types_are_not_a_guests_to_choose() {
    let mut guest = Guest::new(1, 3);
    let (at, entry) = (guest.entry_address(2), guest.entry(2));
    for attributes in [1 << 3, 1 << 4, 1 << 7, 3 << 3, 1 << 7 | 3 << 3] {
        refused(update(&mut guest, at, entry | attributes, u32::from(domid::SELF)), Errno::EINVAL);
        refused(update(&mut guest, at, entry & !2 | attributes, u32::from(domid::SELF)), Errno::EINVAL);
    }
    assert_eq!(guest.entry(2), entry);
}
