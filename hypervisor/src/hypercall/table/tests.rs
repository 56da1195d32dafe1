//! The table says what the handlers do.

use std::vec::Vec;

use abi::errno::Errno;
use abi::sysctl::{Sysctl, interface, op};
use abi::xen::{MmuextOp, hypercall};

use super::{ROWS, Row};
use crate::call::CallError;
use crate::latency::HYPERCALLS;
use crate::testing::Guest;

/// Whether a call of the operation by a guest, with argument zero, comes back as not known or not supported.
fn is_refused(guest: &mut Guest, row: &Row, operation: u32) -> bool {
    let arguments = match row.number {
        hypercall::MMUEXT_OP => {
            let list = guest.put(&MmuextOp { command: operation, _pad: 0, argument1: u64::MAX, argument2: 0 });
            [list.get(), 1, 0, 0x7ff0, 0, 0]
        }
        hypercall::GRANT_TABLE_OP => [operation.into(), guest.address(0).get(), 1, 0, 0, 0],
        hypercall::SYSCTL => {
            let mut request = Sysctl { command: operation, interface_version: interface::VERSION, argument: [0; 128] };
            // One of the pool's own operations.
            request.argument[0] = if operation == op::CPUPOOL_OP { 3 } else { 0 };
            [guest.put(&request).get(), 0, 0, 0, 0, 0]
        }
        hypercall::VM_ASSIST => [operation.into(), 4, 0, 0, 0, 0],
        _ => [operation.into(), 0, 0, 0, 0, 0],
    };
    let outcome = (row.handler)(&mut guest.caller(), &arguments);
    matches!(outcome, Err(CallError::Errno(Errno::ENOSYS | Errno::EOPNOTSUPP)))
}

#[test]
fn rows_are_in_order_and_each_has_a_counter() {
    assert!(ROWS.is_sorted_by_key(|row| row.number));
    assert!(ROWS.iter().all(|row| row.number < HYPERCALLS));
}

#[test]
fn operations_are_refused_that_the_table_says_are() {
    // What only the initial domain may ask is refused to others before the operation is looked at.
    for (id, row) in (1..).zip(ROWS.iter().filter(|row| row.number != hypercall::CONSOLE_IO)) {
        let mut guest = if row.number == hypercall::SYSCTL { Guest::privileged(0, 4) } else { Guest::new(id, 4) };
        let numbers = row.operations.iter().map(|operation| operation.1);
        let refused: Vec<u32> = numbers.filter(|&number| is_refused(&mut guest, row, number)).collect();
        assert_eq!(row.refused, refused, "{}", row.name);
    }
}
