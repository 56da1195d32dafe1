//! Checks that the costs of hypercalls match their duration: a multicall of 1000 calls must be
//! interrupted within a millisecond. The test guest `stall-calls` checks the same on a machine.

use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use abi::arch_x86_64::VcpuGuestContext;
use abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, BindVcpu, ExpandArray, Status, fifo, op as event_op};
use abi::sched::{Poll, Watchdog, op as sched_op};
use abi::vcpu::op as vcpu_op;
use abi::version::op as version;
use abi::xen::{DomainId, MmuextOp, MulticallEntry, hypercall, mmuext, uvmf};
use machine::addr::GuestVirt;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::call::{CallError, Continuation};
use crate::hypercall::dispatch;
use crate::hypercall::multicall::multicall;
use crate::testing::Guest;

const CALLS: u32 = 1000;
/// First page of the list of calls. The arguments are in the pages before it.
const LIST: usize = 8;
const PAGES: usize = LIST + 16;
/// Limit of instructions between two checks for other work on the pCPU.
const MOST: u64 = 500_000;

/// A call and its instructions on a machine, as `stall-calls` measures them; they include those of
/// the multicall for it.
struct Measured {
    name: &'static str,
    operation: u32,
    arguments: fn(&mut Guest) -> [u64; 3],
    instructions: u64,
}

const fn measured(
    name: &'static str,
    operation: u32,
    instructions: u64,
    arguments: fn(&mut Guest) -> [u64; 3],
) -> Measured {
    Measured { name, operation, arguments, instructions }
}

/// Copies an argument to the guest's memory.
fn put<T: IntoBytes + Immutable>(guest: &mut Guest, value: T) -> u64 {
    guest.put(&value).get()
}

fn event<T: IntoBytes + Immutable>(guest: &mut Guest, operation: u32, value: T) -> [u64; 3] {
    [operation.into(), put(guest, value), 0]
}

fn extended(guest: &mut Guest, command: u32, argument1: u64, argument2: u64) -> [u64; 3] {
    [put(guest, MmuextOp { command, _pad: 0, argument1, argument2 }), 1, 0]
}

fn unbound(guest: &Guest) -> AllocUnbound {
    AllocUnbound { domain: DomainId::SELF, remote_domain: guest.domain.id(), port: 0 }
}

/// Makes one call outside a multicall.
fn once(guest: &mut Guest, operation: u32, arguments: [u64; 3]) {
    let [first, second, third] = arguments;
    let all = [first, second, third, u64::from(DomainId::SELF.0), 0, 0];
    let result = dispatch::call(&mut guest.caller(), operation.into(), &all, 0);
    assert!(matches!(result, Ok(0)), "{operation}: {result:?}");
}

/// Switches the guest to the FIFO ABI and marks all ports as linked.
fn link_all(guest: &mut Guest) {
    let control = abi::event_channel::InitControl { control_gfn: guest.mfn(1).get(), ..FromZeros::new_zeroed() };
    let arguments = event(guest, event_op::INIT_CONTROL, control);
    once(guest, hypercall::EVENT_CHANNEL_OP, arguments);
    let arguments = event(guest, event_op::EXPAND_ARRAY, ExpandArray { array_gfn: guest.mfn(2).get() });
    once(guest, hypercall::EVENT_CHANNEL_OP, arguments);
    let words = guest.address(2);
    guest.caller().cpu.write(words, &[1u32 << fifo::LINKED; 1024]).expect("a mapped page");
}

/// The calls. Calls that are refused on the hosted back end cost the same on a machine.
#[rustfmt::skip]
const MEASURED: &[Measured] = &[
    measured("xen_version capabilities", hypercall::XEN_VERSION, 661, |guest| {
        [version::CAPABILITIES.into(), guest.address(1).get(), 0]
    }),
    measured("xen_version commandline", hypercall::XEN_VERSION, 233, |guest| {
        [version::COMMANDLINE.into(), guest.address(1).get(), 0]
    }),
    measured("set_gdt of none", hypercall::SET_GDT, 1634, |_| [0, 0, 0]),
    measured("set_gdt of 14 frames", hypercall::SET_GDT, 4470, |guest| {
        let frames = [guest.mfn(3).get(); 14];
        [put(guest, frames), 14 * 512, 0]
    }),
    measured("set_segment_base of a selector", hypercall::SET_SEGMENT_BASE, 1380, |_| [3, 63, 0]),
    measured("set_trap_table of none", hypercall::SET_TRAP_TABLE, 812, |_| [0, 0, 0]),
    measured("set_trap_table of 256", hypercall::SET_TRAP_TABLE, 18_336, |guest| {
        let table = [[0x0000_e033_0000_0000u64, 0x40_0000]; 256];
        [put(guest, table), 0, 0]
    }),
    measured("update_va_mapping, flush of all", hypercall::UPDATE_VA_MAPPING, 709, |guest| {
        [guest.address(4).get(), guest.entry(4), uvmf::TLB_FLUSH | uvmf::ALL]
    }),
    measured("mmu_update of two", hypercall::MMU_UPDATE, 1006, |guest| {
        let update = [guest.entry_address(4), guest.entry(4)];
        [put(guest, [update, update]), 2, 0]
    }),
    measured("mmuext_op tlb_flush_all", hypercall::MMUEXT_OP, 457, |guest| {
        extended(guest, mmuext::TLB_FLUSH_ALL, 0, 0)
    }),
    measured("mmuext_op no user baseptr", hypercall::MMUEXT_OP, 387, |guest| {
        extended(guest, mmuext::NEW_USER_BASEPTR, 0, 0)
    }),
    measured("mmuext_op set_ldt", hypercall::MMUEXT_OP, 1610, |guest| {
        let base = guest.address(4).get();
        extended(guest, mmuext::SET_LDT, base, 512)
    }),
    measured("mmuext_op clear_page", hypercall::MMUEXT_OP, 1230, |guest| {
        let mfn = guest.mfn(4).get();
        extended(guest, mmuext::CLEAR_PAGE, mfn, 0)
    }),
    measured("mmuext_op copy_page", hypercall::MMUEXT_OP, 4676, |guest| {
        let (to, from) = (guest.mfn(4).get(), guest.mfn(5).get());
        extended(guest, mmuext::COPY_PAGE, to, from)
    }),
    measured("mmuext_op pin of a page in use", hypercall::MMUEXT_OP, 526, |guest| {
        let mfn = guest.mfn(4).get();
        extended(guest, mmuext::PIN_L1_TABLE, mfn, 0)
    }),
    measured("vcpu_op initialise", hypercall::VCPU_OP, 2258, |guest| {
        let place = guest.address(2).get();
        guest.caller().cpu.write(GuestVirt::new(place), &VcpuGuestContext::new_zeroed()).expect("mapped pages");
        [vcpu_op::INITIALISE.into(), 0, place]
    }),
    measured("vcpu_op register_time", hypercall::VCPU_OP, 435, |guest| {
        let area = guest.address(4).get();
        [vcpu_op::REGISTER_VCPU_TIME_MEMORY_AREA.into(), 0, put(guest, area)]
    }),
    measured("vcpu_op set_periodic_timer", hypercall::VCPU_OP, 631, |guest| {
        [vcpu_op::SET_PERIODIC_TIMER.into(), 0, put(guest, 1_000_000_000u64)]
    }),
    measured("set_timer_op", hypercall::SET_TIMER_OP, 615, |_| [1 << 49, 0, 0]),
    measured("sched_op poll of 128 ports", hypercall::SCHED_OP, 3945, |guest| {
        let arguments = event(guest, event_op::BIND_IPI, BindIpi { vcpu: 0, port: 0 });
        once(guest, hypercall::EVENT_CHANNEL_OP, arguments);
        let poll = Poll { ports: guest.address(4).get(), port_count: 128, _pad: 0, timeout: 1 };
        event(guest, sched_op::POLL, poll)
    }),
    measured("sched_op watchdog, restarted", hypercall::SCHED_OP, 662, |guest| {
        let arguments = event(guest, sched_op::WATCHDOG, Watchdog { id: 0, timeout: 1000 });
        let [first, second, third] = arguments;
        let all = [first, second, third, 0, 0, 0];
        assert!(matches!(dispatch::call(&mut guest.caller(), hypercall::SCHED_OP.into(), &all, 0), Ok(1)));
        event(guest, sched_op::WATCHDOG, Watchdog { id: 1, timeout: 1000 })
    }),
    measured("alloc_unbound", hypercall::EVENT_CHANNEL_OP, 725, |guest| {
        let argument = unbound(guest);
        event(guest, event_op::ALLOC_UNBOUND, argument)
    }),
    measured("bind_interdomain", hypercall::EVENT_CHANNEL_OP, 625, |guest| {
        let argument = unbound(guest);
        let arguments = event(guest, event_op::ALLOC_UNBOUND, argument);
        once(guest, hypercall::EVENT_CHANNEL_OP, arguments);
        let bind = BindInterdomain { remote_domain: DomainId::SELF, _pad: 0, remote_port: 1, local_port: 0 };
        event(guest, event_op::BIND_INTERDOMAIN, bind)
    }),
    measured("bind_ipi", hypercall::EVENT_CHANNEL_OP, 640, |guest| {
        event(guest, event_op::BIND_IPI, BindIpi { vcpu: 0, port: 0 })
    }),
    measured("send", hypercall::EVENT_CHANNEL_OP, 403, |guest| {
        let arguments = event(guest, event_op::BIND_IPI, BindIpi { vcpu: 0, port: 0 });
        once(guest, hypercall::EVENT_CHANNEL_OP, arguments);
        event(guest, event_op::SEND, 1u32)
    }),
    measured("close", hypercall::EVENT_CHANNEL_OP, 395, |guest| event(guest, event_op::CLOSE, 1u32)),
    measured("status", hypercall::EVENT_CHANNEL_OP, 365, |guest| {
        let mut status = Status::new_zeroed();
        status.domain = DomainId::SELF;
        event(guest, event_op::STATUS, status)
    }),
    measured("bind_vcpu", hypercall::EVENT_CHANNEL_OP, 281, |guest| {
        event(guest, event_op::BIND_VCPU, BindVcpu { port: 1, vcpu: 0 })
    }),
];

/// Number of calls that are made, out of [`CALLS`], before the multicall returns a continuation.
fn made(guest: &mut Guest, operation: u32, arguments: [u64; 3]) -> u64 {
    let [first, second, third] = arguments;
    let arguments = [first, second, third, u64::from(DomainId::SELF.0), 0, 0];
    let list = guest.address(LIST);
    let entry = MulticallEntry { operation: operation.into(), result: 0, arguments };
    let calls: Vec<MulticallEntry> = vec![entry; CALLS as usize];
    guest.caller().cpu.write_bytes(list, calls.as_bytes()).expect("mapped pages");
    match multicall(&mut guest.caller(), list, CALLS) {
        Ok(_) => CALLS.into(),
        Err(CallError::Continue(Continuation { arguments: [_, Some(rest), ..], .. })) => u64::from(CALLS) - rest,
        other => panic!("{operation}: {other:?}"),
    }
}

#[test]
fn a_thousand_calls_are_preempted_in_time() {
    let mut complaints = String::new();
    for (number, call) in (1..).zip(MEASURED) {
        let mut guest = Guest::new(number, PAGES);
        let arguments = (call.arguments)(&mut guest);
        let made = made(&mut guest, call.operation, arguments);
        if made == 0 || made * call.instructions > MOST {
            complaints += &format!("{}: {made} calls in one budget\n", call.name);
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

/// Like [`MEASURED`], for each element of a list.
const MEASURED_IN_LISTS: &[Measured] = &[
    measured("mmu_update for one table", hypercall::MMU_UPDATE, 178, |guest| {
        let update = [guest.entry_address(4), guest.entry(4)];
        fill(guest, update)
    }),
    // The L2 entry is in another table than the one that was changed before.
    measured("mmu_update for two tables", hypercall::MMU_UPDATE, 411, |guest| {
        let (address, value) = guest.upper_entry();
        fill(guest, [address, value])
    }),
    measured("mmuext_op set_ldt", hypercall::MMUEXT_OP, 1338, |guest| {
        fill(guest, MmuextOp { command: mmuext::SET_LDT, _pad: 0, argument1: 0, argument2: 0 })
    }),
    measured("mmuext_op invlpg_local", hypercall::MMUEXT_OP, 123, |guest| {
        fill(guest, MmuextOp { command: mmuext::INVLPG_LOCAL, _pad: 0, argument1: 0, argument2: 0 })
    }),
];

/// Fills the pages for lists with copies of an element. Returns the arguments of the call.
fn fill<T: IntoBytes + Immutable + Copy>(guest: &mut Guest, element: T) -> [u64; 3] {
    let count = (PAGES - LIST) * 4096 / size_of::<T>();
    let (list, elements) = (guest.address(LIST), vec![element; count]);
    guest.caller().cpu.write_bytes(list, elements.as_slice().as_bytes()).expect("mapped pages");
    [list.get(), count as u64, 0]
}

#[test]
fn a_list_is_preempted_in_time() {
    let mut complaints = String::new();
    for (number, call) in (1..).zip(MEASURED_IN_LISTS) {
        let mut guest = Guest::new(number, PAGES);
        let [list, count, done] = (call.arguments)(&mut guest);
        let all = [list, count, done, u64::from(DomainId::SELF.0), 0, 0];
        let made = match dispatch::call(&mut guest.caller(), call.operation.into(), &all, 0) {
            Ok(_) => count,
            Err(CallError::Continue(Continuation { arguments: [_, Some(rest), ..], .. })) => {
                count - (rest & 0x7fff_ffff)
            }
            other => panic!("{}: {other:?}", call.name),
        };
        if made == 0 || made * call.instructions > MOST {
            complaints += &format!("{}: {made} elements in one budget\n", call.name);
        }
    }
    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn a_bind_with_all_ports_linked_is_preempted() {
    let mut guest = Guest::new(1, PAGES);
    link_all(&mut guest);
    let arguments = event(&mut guest, event_op::BIND_IPI, BindIpi { vcpu: 0, port: 0 });
    assert_eq!(made(&mut guest, hypercall::EVENT_CHANNEL_OP, arguments), 0);
}
