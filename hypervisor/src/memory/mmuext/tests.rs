//! Pins, and operations of `mmuext_op` on frames.

use abi::errno::Errno;
use abi::xen::{DomainId, MmuextOp, mmuext};
use machine::addr::GuestVirt;
use machine::counters::{self, Counter};
use machine::frames::FrameRef;

use super::mmuext_op;
use crate::call::CallError;
use crate::memory::update_va_mapping::update_va_mapping;
use crate::testing::Guest;

fn perform(guest: &mut Guest, command: u32, frame: &FrameRef) -> Result<u64, Errno> {
    let operation = MmuextOp { command, _pad: 0, argument1: frame.mfn().get(), argument2: 0 };
    let list = guest.put(&operation);
    match mmuext_op(&mut guest.caller(), list, 1, GuestVirt::new(0), DomainId::SELF) {
        Ok(value) => Ok(value),
        Err(CallError::Errno(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn only_the_hardware_domain_may_flush_caches() {
    let flushes = || counters::of(machine::cpu::current(), Counter::CacheFlushes);
    let commands = [mmuext::FLUSH_CACHE, mmuext::FLUSH_CACHE_GLOBAL];
    let mut guest = Guest::new(1, 2);
    let before = flushes();
    for (command, errno) in commands.into_iter().zip([Errno::EACCES, Errno::EINVAL]) {
        let frame = guest.domain.frame(guest.mfn(1)).expect("its own frame");
        assert_eq!(perform(&mut guest, command, &frame), Err(errno));
    }
    drop(guest);
    let mut hardware = Guest::privileged(0, 2);
    assert_eq!(flushes(), before);
    for (done, command) in (1..).zip(commands) {
        let operation = MmuextOp { command, _pad: 0, argument1: 0, argument2: 0 };
        let list = hardware.put(&[operation, operation]);
        // The call returns a continuation after the first of two operations.
        let result = mmuext_op(&mut hardware.caller(), list, 2, GuestVirt::new(0), DomainId::SELF);
        assert!(matches!(result, Err(CallError::Continue(_))), "{result:?}");
        assert_eq!(flushes() - before, done);
    }
}

#[test]
fn a_released_frame_cannot_be_pinned() {
    let mut guest = Guest::new(1, 4);
    let address = guest.address(2);
    let frame = guest.domain.frame(guest.mfn(2)).expect("its own frame");
    update_va_mapping(&mut guest.caller(), address, 0, 0).expect("a table for the address");
    assert_eq!(perform(&mut guest, mmuext::PIN_L1_TABLE, &frame), Ok(0));
    assert_eq!(perform(&mut guest, mmuext::UNPIN_TABLE, &frame), Ok(0));
    drop(guest.domain.frames.remove(&frame));
    assert_eq!(perform(&mut guest, mmuext::PIN_L1_TABLE, &frame), Err(Errno::EINVAL));
    assert_eq!(perform(&mut guest, mmuext::UNPIN_TABLE, &frame), Err(Errno::EINVAL));
}
