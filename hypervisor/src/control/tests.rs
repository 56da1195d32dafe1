use std::vec::Vec;

use abi::xen::hypercall;
use machine::addr::GuestVirt;

use super::*;
use crate::hypercall::table;
use crate::testing::Guest;

fn call(guest: &mut Guest, number: u32, argument: GuestVirt) -> CallResult {
    let row = table::row(number.into()).expect("a call that exists");
    (row.handler)(&mut guest.caller(), &[argument.get(), 0, 0, 0, 0, 0])
}

fn errno(result: CallResult) -> Option<Errno> {
    match result {
        Err(CallError::Errno(errno)) => Some(errno),
        _ => None,
    }
}

#[test]
fn only_the_control_domain_can_make_control_calls() {
    let mut guest = Guest::new(1, 2);
    // The privilege check comes before the request is read: the bad pointer makes no difference.
    for argument in [GuestVirt::new(0), guest.address(0)] {
        for number in [hypercall::SYSCTL, hypercall::DOMCTL, hypercall::KEXEC_OP] {
            assert_eq!(errno(call(&mut guest, number, argument)), Some(Errno::EPERM), "{number}");
        }
    }
}

#[test]
fn every_operation_is_refused_to_others_and_changes_nothing() {
    let mut guest = Guest::new(1, 2);
    let calls = [
        (hypercall::SYSCTL, abi::sysctl::op::NAMES, abi::sysctl::interface::VERSION),
        (hypercall::DOMCTL, abi::domctl::op::NAMES, abi::domctl::interface::VERSION),
    ];
    for (number, operations, version) in calls {
        for (name, operation) in operations {
            let request: Vec<u8> = [operation.to_le_bytes(), version.to_le_bytes()].concat();
            let mut bytes = [0u8; 144];
            bytes.iter_mut().zip(&request).for_each(|(to, from)| *to = *from);
            let argument = guest.put(&bytes);
            assert_eq!(errno(call(&mut guest, number, argument)), Some(Errno::EPERM), "{name}");
            assert_eq!(guest.read::<[u8; 144]>(argument), bytes, "{name}");
        }
    }
}

#[test]
fn requests_are_read_before_the_version_check() {
    let mut guest = Guest::privileged(0, 2);
    for number in [hypercall::SYSCTL, hypercall::DOMCTL] {
        assert_eq!(errno(call(&mut guest, number, GuestVirt::new(0))), Some(Errno::EFAULT));
        let argument = guest.put(&[1u32, 0x14]);
        assert_eq!(errno(call(&mut guest, number, argument)), Some(Errno::EACCES));
        let argument = guest.put(&[u32::MAX, 0x15]);
        assert_eq!(errno(call(&mut guest, number, argument)), Some(Errno::ENOSYS));
    }
}
