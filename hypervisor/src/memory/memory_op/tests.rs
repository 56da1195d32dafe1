//! Changes of a domain's memory: permissions, preemption, and the state after a failure.

use abi::errno::Errno;
use abi::memory::{Exchange, Reservation, op};
use abi::xen::DomainId;
use core::mem::offset_of;
use machine::addr::{GuestVirt, Mfn, Pfn};
use machine::frames::{self, Budget};
use machine::m2p;
use std::vec::Vec;
use zerocopy::FromZeros;

use super::{EXTENT_SHIFT, memory_op};
use crate::call::{CallError, CallResult, Continuation};
use crate::testing::Guest;

/// Pages of the lists, in the guest's memory.
const INPUT: usize = 1;
const OUTPUT: usize = 2;

fn reservation(guest: &Guest, list: usize, count: u64, order: u32, address_bits: u32) -> Reservation {
    Reservation {
        extent_start: guest.address(list).get(),
        extent_count: count,
        extent_order: order,
        memory_flags: address_bits,
        domain: DomainId::SELF,
        ..Reservation::new_zeroed()
    }
}

fn put_list(guest: &mut Guest, page: usize, values: impl Iterator<Item = u64>) {
    let values: Vec<u64> = values.collect();
    let address = guest.address(page);
    guest.caller().cpu.write(address, &values[..]).expect("a mapped page");
}

fn change(guest: &mut Guest, command: u64, wanted: &Reservation, budget: u32) -> CallResult {
    let argument = guest.put(wanted);
    memory_op(&mut guest.caller_with(budget), command, argument)
}

/// Makes a call and restarts it until it is complete. Returns the number of calls and the result.
fn to_the_end(guest: &mut Guest, operation: u32, wanted: &Reservation, budget: u32) -> (u32, u64) {
    let mut command = u64::from(operation);
    for round in 1.. {
        match change(guest, command, wanted, budget) {
            Err(CallError::Continue(Continuation { arguments, .. })) => command = arguments[0].expect("the progress"),
            Ok(done) => return (round, done),
            error => panic!("{error:?}"),
        }
    }
    unreachable!("it ends")
}

fn exchange(guest: &mut Guest, input: Reservation, output: Reservation, budget: u32) -> CallResult {
    let request = Exchange { input, output, ..Exchange::new_zeroed() };
    let argument = guest.put(&request);
    memory_op(&mut guest.caller_with(budget), op::EXCHANGE.into(), argument)
}

#[test]
fn only_domains_with_devices_get_frames_with_short_addresses() {
    let (mut guest, mut control) = (Guest::new(1, 4), Guest::privileged(2, 4));
    // The machine has 16 MiB.
    for (bits, fits) in [(11, false), (20, false), (23, false), (24, true), (32, true), (64, true), (0, true)] {
        for privileged in [false, true] {
            let guest = if privileged { &mut control } else { &mut guest };
            put_list(guest, INPUT, [100].into_iter());
            let wanted = reservation(guest, INPUT, 1, 0, bits);
            let expected = u64::from(fits || privileged && bits > 11);
            for operation in [op::POPULATE_PHYSMAP, op::INCREASE_RESERVATION] {
                let done = change(guest, operation.into(), &wanted, Budget::HYPERCALL);
                assert!(matches!(done, Ok(done) if done == expected), "{bits} bits, {privileged}: {done:?}");
            }
            let given = guest.read::<u64>(guest.address(INPUT));
            put_list(guest, OUTPUT, [100].into_iter());
            let input = reservation(guest, INPUT, 1, 0, 0);
            let output = reservation(guest, OUTPUT, 1, 0, bits);
            let result = exchange(guest, input, output, Budget::HYPERCALL);
            match expected {
                0 => assert!(matches!(result, Err(CallError::Errno(Errno::ENOMEM))), "{result:?}"),
                _ => assert!(result.is_ok() && guest.domain.frame(Mfn::new(given)).is_none(), "{result:?}"),
            }
        }
    }
}

#[test]
fn extents_are_allocated_within_the_budget() {
    let mut guest = Guest::new(1, 4);
    put_list(&mut guest, INPUT, (0..6).map(|extent| 0x1000 + extent * 128));
    let wanted = reservation(&guest, INPUT, 6, 7, 0);
    let before = guest.domain.frames.len();
    let (rounds, done) = to_the_end(&mut guest, op::POPULATE_PHYSMAP, &wanted, 10_000);
    // The first extents cost 4096 units each.
    assert_eq!((rounds, done), (3, 6));
    assert_eq!(guest.domain.frames.len(), before + 6 * 128);
    let (rounds, done) = to_the_end(&mut guest, op::DECREASE_RESERVATION, &wanted, 2100);
    assert_eq!((rounds, done), (3, 6), "extents of 1024 units each");
    assert_eq!(guest.domain.frames.len(), before);
    // An extent whose cost exceeds every budget is still processed, if hardly anything has been
    // spent before.
    let wanted = reservation(&guest, INPUT, 1, 7, 0);
    assert!(matches!(change(&mut guest, op::POPULATE_PHYSMAP.into(), &wanted, 1000), Ok(1)));
    let argument = guest.put(&wanted);
    let mut caller = guest.caller_with(5000);
    caller.budget.spend(1000);
    let Err(CallError::Continue(Continuation { arguments, .. })) =
        memory_op(&mut caller, op::POPULATE_PHYSMAP.into(), argument)
    else {
        panic!("an extent was processed although the budget has no room")
    };
    assert_eq!(arguments[0], Some(u64::from(op::POPULATE_PHYSMAP) | 0 << EXTENT_SHIFT));
}

#[test]
fn extents_above_the_largest_order_are_refused() {
    let (guest, control) = (Guest::new(1, 4), Guest::privileged(2, 4));
    for mut guest in [guest, control] {
        for order in [10, 12, 18, 31, 32, u32::MAX] {
            let wanted = reservation(&guest, INPUT, 1, order, 0);
            for operation in [op::POPULATE_PHYSMAP, op::INCREASE_RESERVATION, op::DECREASE_RESERVATION] {
                assert!(matches!(change(&mut guest, operation.into(), &wanted, Budget::HYPERCALL), Ok(0)));
            }
            let other = wanted;
            let result = exchange(&mut guest, wanted, other, Budget::HYPERCALL);
            assert!(matches!(result, Err(CallError::Errno(Errno::EPERM))));
        }
    }
}

/// Exchanges single frames for an extent and back, and then frames that cannot be exchanged.
#[test]
fn exchange_replaces_whole_extents_or_none() {
    let mut guest = Guest::new(1, 4);
    put_list(&mut guest, INPUT, (0..64).map(|index| 0x2000 + index));
    let singles = reservation(&guest, INPUT, 64, 0, 0);
    assert!(matches!(change(&mut guest, op::POPULATE_PHYSMAP.into(), &singles, Budget::HYPERCALL), Ok(64)));
    let (count, free) = (guest.domain.frames.len(), frames::free_frames());
    put_list(&mut guest, OUTPUT, [0x3000, 0x3020].into_iter());
    let extents = reservation(&guest, OUTPUT, 2, 5, 0);
    assert!(matches!(exchange(&mut guest, singles, extents, Budget::HYPERCALL), Ok(0)));
    let [first, second]: [u64; 2] = guest.read(guest.address(OUTPUT));
    assert!(first.is_multiple_of(32) && second.is_multiple_of(32));
    for (start, pfn) in [(first, 0x3000), (second, 0x3020)] {
        for offset in 0..32 {
            let mfn = Mfn::new(start + offset);
            assert!(guest.domain.frame(mfn).is_some());
            assert_eq!(m2p::get(mfn), Pfn::new(pfn + offset));
        }
    }
    assert_eq!((guest.domain.frames.len(), frames::free_frames()), (count, free));
    // The last frame of the second extent is in use.
    let mapped = guest.domain.frame(Mfn::new(second + 31)).expect("its own");
    let result = exchange(&mut guest, extents, singles, Budget::HYPERCALL);
    assert!(matches!(result, Err(CallError::Errno(Errno::EINVAL))), "{result:?}");
    assert_eq!(
        (guest.domain.frames.len(), frames::free_frames()),
        (count, free),
        "the first extent has been exchanged"
    );
    drop(mapped);
    assert!(guest.domain.frame(Mfn::new(second)).is_some(), "the second extent has not");
    // The list ends within the extent.
    let beyond = Reservation { extent_start: guest.address(4).get() - 31 * 8, extent_count: 32, ..singles };
    put_list(&mut guest, 3, (0..512).map(|index| if index < 481 { 0 } else { second + index - 481 }));
    let one = Reservation { extent_count: 1, ..extents };
    let result = exchange(&mut guest, beyond, one, Budget::HYPERCALL);
    assert!(matches!(result, Err(CallError::Errno(Errno::EFAULT))), "{result:?}");
    assert_eq!(
        (guest.domain.frames.len(), frames::free_frames()),
        (count, free),
        "frames that were taken have been returned"
    );
}

#[test]
fn a_restarted_exchange_continues_where_it_stopped() {
    let mut guest = Guest::new(1, 4);
    put_list(&mut guest, INPUT, (0..64).map(|index| 0x2000 + index));
    let singles = reservation(&guest, INPUT, 64, 0, 0);
    assert!(matches!(change(&mut guest, op::POPULATE_PHYSMAP.into(), &singles, Budget::HYPERCALL), Ok(64)));
    put_list(&mut guest, OUTPUT, (0..64).map(|index| 0x2000 + index));
    let others = reservation(&guest, OUTPUT, 64, 0, 0);
    let result = exchange(&mut guest, singles, others, 48 * 10);
    assert!(matches!(result, Err(CallError::Continue(_))), "{result:?}");
    let argument = guest.address(0);
    let done: u64 = guest.read(argument.offset(offset_of!(Exchange, exchanged_count) as u64));
    assert_eq!(done, 10);
    assert!(matches!(memory_op(&mut guest.caller(), op::EXCHANGE.into(), argument), Ok(0)));
    let done: u64 = guest.read(GuestVirt::new(argument.get() + offset_of!(Exchange, exchanged_count) as u64));
    assert_eq!(done, 64);
}
