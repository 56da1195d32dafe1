//! Checks that the handlers do what the table states.

use abi::errno::Errno;
use abi::xen::{MmuextOp, hypercall};

use super::{Privilege, ROWS, Row};
use crate::call::CallError;
use crate::latency::HYPERCALLS;
use crate::testing::Guest;

/// The error of an operation with a zero argument.
fn call(guest: &mut Guest, row: &Row, operation: u32) -> Option<Errno> {
    let arguments = match row.number {
        hypercall::MMUEXT_OP => {
            let list = guest.put(&MmuextOp { command: operation, _pad: 0, argument1: u64::MAX, argument2: 0 });
            [list.get(), 1, 0, 0x7ff0, 0, 0]
        }
        hypercall::GRANT_TABLE_OP => [operation.into(), guest.address(0).get(), 1, 0, 0, 0],
        _ => [operation.into(), 0, 0, 0, 0, 0],
    };
    match (row.handler)(&mut guest.caller(), &arguments) {
        Err(CallError::Errno(errno)) => Some(errno),
        _ => None,
    }
}

#[test]
fn rows_are_in_order_and_each_has_a_counter() {
    assert!(ROWS.is_sorted_by_key(|row| row.number));
    assert!(ROWS.iter().all(|row| row.number < HYPERCALLS));
}

#[test]
fn operations_marked_refused_are_refused() {
    for (id, row) in (1..).zip(ROWS.iter().filter(|row| !matches!(row.privilege, Privilege::Control))) {
        let mut guest = Guest::new(id, 4);
        for operation in row.operations.iter().filter(|operation| operation.refusal.is_some()) {
            let outcome = call(&mut guest, row, operation.number);
            assert_eq!(outcome, operation.refusal, "{}", operation.name);
        }
    }
}

#[test]
fn privileged_calls_are_refused_to_guests() {
    let mut guest = Guest::new(1, 4);
    for row in ROWS {
        let of_row = matches!(row.privilege, Privilege::Control).then_some(Privilege::Control);
        for operation in row.operations {
            if let Some(Privilege::Control | Privilege::Hardware) = operation.privilege.or(of_row) {
                assert_eq!(call(&mut guest, row, operation.number), Some(Errno::EPERM), "{}", operation.name);
            }
        }
    }
}
