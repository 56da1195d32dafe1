//! The log of dirty pages, as the tools use it.

use std::vec::Vec;

use abi::domctl::{ShadowOp, op, shadow_mode as mode, shadow_op as operation};
use abi::errno::Errno;
use abi::xen::DomainId;
use machine::addr::Pfn;
use machine::frames::dirty_log;
use machine::frames::{self, Budget};
use zerocopy::FromZeros;

use super::{NOWHERE, OTHER, call};
use crate::call::CallError;
use crate::control::domctl::domctl;
use crate::domain;
use crate::lifecycle;
use crate::testing::Guest;

/// Page numbers that the tests ask for: more than the guest's, and no multiple of 8.
const PAGES: u64 = 205;

/// The control domain, and a guest whose pages have numbers and whose vCPU is parked.
fn two() -> (Guest, Guest) {
    let (control, mut other) = super::two();
    let context = other.park();
    *other.domain.vcpus()[0].parked() = Some(context);
    for page in 0..2 {
        frames::set_number(other.mfn(page), Pfn::new(page as u64));
    }
    (control, other)
}

fn request(operation: u32) -> ShadowOp {
    ShadowOp { operation, pages: PAGES, ..ShadowOp::new_zeroed() }
}

fn do_on(control: &mut Guest, domain: DomainId, request: ShadowOp) -> Result<ShadowOp, Errno> {
    let (result, answer) = call(control, op::SHADOW_OP, domain, &request);
    result.map(|_| answer)
}

/// Page numbers that are marked, in a bitmap that the call writes.
fn marked(control: &mut Guest, operation: u32, mode: u32) -> (Vec<u64>, ShadowOp) {
    let bitmap = control.address(4);
    control.caller().cpu.write(bitmap, &[0xff_u8; 64]).expect("a mapped page");
    let asked = ShadowOp { dirty_bitmap: bitmap.get(), mode, ..request(operation) };
    let answer = do_on(control, OTHER, asked).expect("a log");
    assert_eq!(answer.pages, PAGES);
    let bytes: [u8; 64] = control.read(bitmap);
    assert!(bytes[26..].iter().all(|&byte| byte == 0xff), "nothing beyond the bitmap is written");
    ((0..208).filter(|page| bytes[page / 8] >> (page % 8) & 1 != 0).map(|page| page as u64).collect(), answer)
}

/// The guest writes to a page.
fn write(guest: &mut Guest, page: usize) {
    let address = guest.address(page);
    let context = guest.domain.vcpus()[0].parked().take().expect("it is parked");
    let cpu = context.activate().ok().expect("it is complete");
    cpu.write(address, &7_u64).expect("a mapped page");
    *guest.domain.vcpus()[0].parked() = Some(cpu.deactivate());
}

#[test]
fn pages_that_the_guest_writes_are_returned_once() {
    let (mut control, mut other) = two();
    let free = frames::free_frames();
    do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).expect("memory for the log");
    assert!(marked(&mut control, operation::CLEAN, 0).0.is_empty());
    write(&mut other, 1);
    assert_eq!(marked(&mut control, operation::PEEK, 0).0, [1]);
    let (pages, answer) = marked(&mut control, operation::CLEAN, 0);
    assert_eq!((pages, answer.dirty_count), (Vec::from([1]), 1));
    assert!(answer.fault_count > 0);
    assert!(marked(&mut control, operation::CLEAN, 0).0.is_empty());
    write(&mut other, 0);
    write(&mut other, 1);
    // Without an address the marks are only taken.
    assert_eq!(do_on(&mut control, OTHER, request(operation::CLEAN)).expect("a log").dirty_count, 2);
    assert!(marked(&mut control, operation::CLEAN, mode::LOG_DIRTY_FINAL).0.is_empty());
    do_on(&mut control, OTHER, request(operation::OFF)).expect("a log");
    assert_eq!(frames::free_frames(), free);
    write(&mut other, 1);
}

#[test]
fn errors_are_those_of_xen() {
    let (mut control, _other) = two();
    let with_mode = |operation, mode| ShadowOp { mode, ..request(operation) };
    assert_eq!(do_on(&mut control, DomainId(0), request(operation::ENABLE_LOGDIRTY)).err(), Some(Errno::EINVAL));
    assert_eq!(do_on(&mut control, OTHER, request(operation::CLEAN)).err(), Some(Errno::EINVAL));
    assert_eq!(do_on(&mut control, OTHER, request(operation::PEEK)).err(), Some(Errno::EINVAL));
    assert!(do_on(&mut control, OTHER, request(operation::OFF)).is_ok());
    for wrong in [mode::REFCOUNT, mode::LOG_DIRTY | mode::TRANSLATE, 0] {
        assert_eq!(do_on(&mut control, OTHER, with_mode(operation::ENABLE, wrong)).err(), Some(Errno::EINVAL));
    }
    assert!(do_on(&mut control, OTHER, with_mode(operation::ENABLE, mode::LOG_DIRTY)).is_ok());
    assert_eq!(do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).err(), Some(Errno::EINVAL));
    assert!(do_on(&mut control, OTHER, request(operation::OFF)).is_ok());
}

#[test]
fn a_bitmap_that_cannot_be_written_loses_no_mark() {
    let (mut control, mut other) = two();
    do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).expect("memory for the log");
    let _former = marked(&mut control, operation::CLEAN, 0);
    write(&mut other, 1);
    let nowhere = ShadowOp { dirty_bitmap: NOWHERE, ..request(operation::CLEAN) };
    assert_eq!(do_on(&mut control, OTHER, nowhere).err(), Some(Errno::EFAULT));
    // Nor does one that is too short.
    let short = ShadowOp { dirty_bitmap: control.address(4).get(), pages: 1, ..request(operation::CLEAN) };
    assert_eq!(do_on(&mut control, OTHER, short).expect("a log").dirty_count, 0);
    assert_eq!(marked(&mut control, operation::CLEAN, 0).0, [1]);
    do_on(&mut control, OTHER, request(operation::OFF)).expect("a log");
}

#[test]
fn the_tools_set_the_pool() {
    let (mut control, _other) = two();
    let allocation =
        |control: &mut Guest| do_on(control, OTHER, request(operation::GET_ALLOCATION)).expect("it is known").megabytes;
    assert_eq!(allocation(&mut control), 1);
    let free = frames::free_frames();
    do_on(&mut control, OTHER, ShadowOp { megabytes: 2, ..request(operation::SET_ALLOCATION) }).expect("it is kept");
    do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).expect("memory for the log");
    assert_eq!((allocation(&mut control), free - frames::free_frames()), (2, 512));
    do_on(&mut control, OTHER, request(operation::OFF)).expect("a log");
    do_on(&mut control, OTHER, ShadowOp { megabytes: 4096, ..request(operation::SET_ALLOCATION) }).expect("it is kept");
    assert_eq!(do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).err(), Some(Errno::ENOMEM));
    assert_eq!(frames::free_frames(), free);
}

/// Makes one attempt of a call with a small budget. Returns whether it was preempted.
fn attempt(control: &mut Guest, operation: u32) -> bool {
    let mut asked = abi::domctl::Domctl::new_zeroed();
    (asked.command, asked.interface_version, asked.domain) = (op::SHADOW_OP, abi::domctl::interface::VERSION, OTHER);
    let argument = request(operation);
    asked.argument[..size_of::<ShadowOp>()].copy_from_slice(zerocopy::IntoBytes::as_bytes(&argument));
    let place = control.put(&asked);
    let mut caller = control.caller_with(64);
    let privilege = caller.control().expect("the control domain");
    match domctl(&mut caller, privilege, place) {
        Ok(_) => false,
        Err(CallError::Continue(_)) => true,
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn each_operation_is_preempted_and_goes_on() {
    let (mut control, mut other) = two();
    let free = frames::free_frames();
    for operation in [operation::ENABLE_LOGDIRTY, operation::CLEAN, operation::OFF] {
        let mut attempts = 1;
        while attempt(&mut control, operation) {
            attempts += 1;
            let another = if operation == operation::OFF { operation::CLEAN } else { operation::OFF };
            assert_eq!(do_on(&mut control, OTHER, request(another)).err(), Some(Errno::EBUSY));
        }
        assert!(attempts > 2 || operation == operation::CLEAN, "{attempts}");
        write(&mut other, 0);
    }
    assert_eq!(frames::free_frames(), free);
}

/// Destroys a guest in the middle of a log, or while one is enabled.
fn destroy_logged(preempted: bool) {
    let (mut control, other) = two();
    let id = other.domain.id();
    if preempted {
        assert!(attempt(&mut control, operation::ENABLE_LOGDIRTY));
    } else {
        do_on(&mut control, OTHER, request(operation::ENABLE_LOGDIRTY)).expect("memory for the log");
    }
    lifecycle::begin_destruction(&other.domain);
    assert!(do_on(&mut control, OTHER, request(operation::CLEAN)).is_ok(), "it is dying");
    drop(other);
    while domain::by_id(id).is_some() {
        lifecycle::advance_destruction(&mut Budget::new(200));
    }
    assert!(dirty_log::state(id).is_none());
}

#[test]
fn a_domain_that_ends_leaves_nothing_of_its_log() {
    destroy_logged(false);
}

#[test]
fn a_domain_that_ends_leaves_nothing_of_a_log_that_is_being_enabled() {
    destroy_logged(true);
}
