//! Event channels from the guests' side.

mod fifo;
mod many;

use std::sync::Barrier;
use std::vec::Vec;

use abi::errno::Errno;
use abi::event_channel::{
    AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, Close, ExpandArray, Reset, Send, SetPriority, Status,
    Unmask, op, status,
};
use abi::xen::{DomainId, SharedInfo, VcpuInfo, virq};
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use machine::addr::GuestVirt;
use machine::frames::Budget;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::{allocate_for_paravane, event_channel_op, event_channel_op_compat, notify_guest, poll_ready, raise_virq};
use crate::call::{CallError, Continuation};
use crate::domain::{Port, VcpuId};
use crate::testing::Guest;

fn call<T: IntoBytes + FromBytes + Immutable>(guest: &mut Guest, operation: u32, value: T) -> Result<T, Errno> {
    let address = guest.put(&value);
    loop {
        match event_channel_op(&mut guest.caller(), operation, address) {
            Ok(_) => return Ok(guest.read(address)),
            Err(CallError::Errno(errno)) => return Err(errno),
            Err(CallError::Continue(_)) => {}
            Err(CallError::Kill(why)) => panic!("killed: {why}"),
        }
    }
}

fn alloc(guest: &mut Guest, remote: u16) -> u32 {
    let arguments = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId(remote), port: 0 };
    call(guest, op::ALLOC_UNBOUND, arguments).expect("a free port").port
}

fn bind(guest: &mut Guest, remote: u16, remote_port: u32) -> Result<u32, Errno> {
    let arguments = BindInterdomain { remote_domain: DomainId(remote), _pad: 0, remote_port, local_port: 0 };
    call(guest, op::BIND_INTERDOMAIN, arguments).map(|arguments| arguments.local_port)
}

fn bind_virq(guest: &mut Guest, number: u32, vcpu: u32) -> Result<u32, Errno> {
    call(guest, op::BIND_VIRQ, BindVirq { virq: number, vcpu, port: 0 }).map(|arguments| arguments.port)
}

fn bind_ipi(guest: &mut Guest, vcpu: u32) -> Result<u32, Errno> {
    call(guest, op::BIND_IPI, BindIpi { vcpu, port: 0 }).map(|arguments| arguments.port)
}

fn send(guest: &mut Guest, port: u32) -> Result<(), Errno> {
    call(guest, op::SEND, Send { port }).map(|_| ())
}

fn close(guest: &mut Guest, port: u32) -> Result<(), Errno> {
    call(guest, op::CLOSE, Close { port }).map(|_| ())
}

fn status_of(guest: &mut Guest, port: u32) -> Result<Status, Errno> {
    let mut arguments = Status::new_zeroed();
    (arguments.domain, arguments.port) = (DomainId::SELF, port);
    call(guest, op::STATUS, arguments)
}

/// Whether a vCPU has been notified since the last call. Clears the selector as a guest does.
fn upcall(guest: &Guest, vcpu: u32) -> bool {
    guest.domain.vcpu(VcpuId::new(vcpu)).is_some_and(|vcpu| {
        let info = vcpu.info();
        let told = info.upcall_pending().swap(0, Ordering::SeqCst) != 0;
        let selector = info.offset + offset_of!(VcpuInfo, event_pending_selector);
        if told {
            info.page.atomic_u64(selector).store(0, Ordering::SeqCst);
        }
        told
    })
}

fn mask_word(guest: &Guest, port: u32) -> &core::sync::atomic::AtomicU64 {
    guest.domain.shared_info().atomic_u64(offset_of!(SharedInfo, event_mask) + port as usize / 64 * 8)
}

fn pending(guest: &Guest, port: u32) -> bool {
    poll_ready(&guest.domain, &[Port::new(port)])
}

#[test]
fn two_domains_bind_and_signal() {
    let (mut a, mut b) = (Guest::new(1, 1), Guest::new(2, 1));
    let port_a = alloc(&mut a, 2);
    assert_eq!(bind(&mut b, 3, port_a), Err(Errno::ESRCH));
    let port_b = bind(&mut b, 1, port_a).expect("the port accepts domain 2");
    assert_eq!(bind(&mut b, 1, port_a), Err(Errno::EINVAL));
    assert!(pending(&b, port_b) && upcall(&b, 0), "binding signals the binder");
    assert!(!pending(&a, port_a));
    send(&mut b, port_b).expect("bound");
    assert!(pending(&a, port_a) && upcall(&a, 0));
    send(&mut b, port_b).expect("bound");
    assert!(!upcall(&a, 0), "a pending port notifies only once");

    let seen = status_of(&mut a, port_a).expect("a port");
    assert_eq!((seen.status, seen.bound_to, seen.remote_port), (status::INTERDOMAIN, 2, port_b));
    close(&mut b, port_b).expect("open");
    let seen = status_of(&mut a, port_a).expect("a port");
    assert_eq!((seen.status, seen.bound_to), (status::UNBOUND, 2));
    assert_eq!(send(&mut a, port_a), Ok(()), "there is no receiver");
    assert_eq!(close(&mut b, port_b), Err(Errno::EINVAL));
}

#[test]
fn a_loopback_channel_works() {
    let mut a = Guest::new(1, 1);
    let one = alloc(&mut a, DomainId::SELF.0);
    let other = bind(&mut a, DomainId::SELF.0, one).expect("accepts itself");
    assert_ne!(one, other);
    send(&mut a, other).expect("bound");
    assert!(pending(&a, one));
    close(&mut a, one).expect("open");
    assert_eq!(status_of(&mut a, other).expect("a port").status, status::UNBOUND);
    assert!(!pending(&a, one), "closing clears");
}

#[test]
fn only_the_named_domain_may_bind() {
    let (mut a, mut b) = (Guest::new(1, 1), Guest::new(2, 1));
    let port = alloc(&mut a, 7);
    assert_eq!(bind(&mut b, 1, port), Err(Errno::EINVAL));
    assert_eq!(bind(&mut b, 1, 0), Err(Errno::EINVAL));
    assert_eq!(bind(&mut b, 1, u32::MAX), Err(Errno::EINVAL));
    let other = AllocUnbound { domain: DomainId(1), remote_domain: DomainId(2), port: 0 };
    assert_eq!(call(&mut b, op::ALLOC_UNBOUND, other).map(|_| ()), Err(Errno::EPERM));
}

#[test]
fn virtual_interrupts_reach_their_vcpu() {
    let mut a = Guest::new(1, 1);
    let port = bind_virq(&mut a, virq::TIMER, 1).expect("not bound yet");
    assert_eq!(bind_virq(&mut a, virq::TIMER, 1), Err(Errno::EEXIST));
    assert_eq!(bind_virq(&mut a, virq::TIMER, 2), Err(Errno::ENOENT));
    assert_eq!(bind_virq(&mut a, virq::CONSOLE, 1), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&mut a, virq::COUNT, 0), Err(Errno::EINVAL));
    let vcpu = a.domain.vcpu(VcpuId::new(1)).expect("two vCPUs").clone();
    raise_virq(&vcpu, virq::TIMER);
    assert!(pending(&a, port) && upcall(&a, 1) && !upcall(&a, 0));
    assert_eq!(call(&mut a, op::BIND_VCPU, BindVcpu { port, vcpu: 0 }).map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(send(&mut a, port), Err(Errno::EINVAL));
    close(&mut a, port).expect("open");
    raise_virq(&vcpu, virq::TIMER);
    assert!(!pending(&a, port));
    let global = bind_virq(&mut a, virq::CONSOLE, 0).expect("not bound yet");
    call(&mut a, op::BIND_VCPU, BindVcpu { port: global, vcpu: 1 }).expect("global ones move");
    super::raise_global_virq(&a.domain, virq::CONSOLE);
    assert!(upcall(&a, 1));
    close(&mut a, global).expect("open");
    assert!(bind_virq(&mut a, virq::CONSOLE, 0).is_ok(), "closing frees the interrupt whichever vCPU it notifies");
}

#[test]
fn a_masked_port_notifies_no_vcpu_until_unmasked() {
    let mut a = Guest::new(1, 1);
    let port = bind_ipi(&mut a, 1).expect("a vCPU");
    mask_word(&a, port).store(u64::MAX, Ordering::SeqCst);
    send(&mut a, port).expect("an IPI");
    assert!(pending(&a, port) && !upcall(&a, 1));
    call(&mut a, op::UNMASK, Unmask { port }).expect("a port");
    assert!(upcall(&a, 1));
    call(&mut a, op::UNMASK, Unmask { port }).expect("a port");
    assert!(!upcall(&a, 1));
    assert_eq!(call(&mut a, op::UNMASK, Unmask { port: 100_000 }).map(|_| ()), Err(Errno::EINVAL));
}

#[test]
fn ports_are_limited_and_reusable() {
    let mut a = Guest::new(1, 1);
    for number in 1..1024 {
        assert_eq!(bind_ipi(&mut a, 0), Ok(number));
    }
    assert_eq!(bind_ipi(&mut a, 0), Err(Errno::ENOSPC));
    close(&mut a, 17).expect("open");
    assert_eq!(bind_ipi(&mut a, 0), Ok(17));
    let reset = a.put(&Reset { domain: DomainId::SELF });
    let result = event_channel_op(&mut a.caller_with(1000), op::RESET, reset);
    assert!(matches!(result, Err(CallError::Continue(Continuation { arguments: [Some(14), ..], .. }))));
    assert!(matches!(event_channel_op(&mut a.caller(), op::RESET, reset), Err(CallError::Errno(Errno::EBUSY))));
    call(&mut a, 14, Reset { domain: DomainId::SELF }).expect("the rest of it");
    assert_eq!(bind_ipi(&mut a, 0), Ok(1));
}

#[test]
fn a_port_can_be_bound_to_paravane() {
    let mut a = Guest::new(1, 1);
    let port = allocate_for_paravane(&a.domain, crate::console::CONSUMER).expect("a free port");
    notify_guest(&a.domain, port);
    assert!(pending(&a, port.get()) && upcall(&a, 0));
    assert_eq!(send(&mut a, port.get()), Ok(()));
    close(&mut a, port.get()).expect("the guest's to close");
    notify_guest(&a.domain, port);
    assert!(!pending(&a, port.get()));
}

#[test]
fn bad_calls_are_refused() {
    let mut a = Guest::new(1, 1);
    let nowhere = GuestVirt::new(0x1000);
    for operation in 0..=14 {
        let result = event_channel_op(&mut a.caller(), operation, nowhere);
        assert!(matches!(result, Err(CallError::Errno(Errno::EFAULT))), "{operation}: {result:?}");
    }
    let result = event_channel_op(&mut a.caller(), 15, nowhere);
    assert!(matches!(result, Err(CallError::Errno(Errno::ENOSYS))));
    let old = a.put(&[[op::BIND_IPI, 0, 0], [0; 3], [0; 3]]);
    assert!(event_channel_op_compat(&mut a.caller(), old).is_ok());
    assert_eq!(a.read::<[u32; 3]>(old), [op::BIND_IPI, 0, 1]);
    assert!(event_channel_op_compat(&mut a.caller(), nowhere).is_err());
    let old = a.put(&[op::RESET, 0, 0, 0, 0, 0, 0]);
    let result = event_channel_op_compat(&mut a.caller(), old);
    assert!(matches!(result, Err(CallError::Errno(Errno::ENOSYS))));
    assert_eq!(close(&mut a, 1), Ok(()));
    assert_eq!(close(&mut a, 0), Err(Errno::EINVAL));
    assert_eq!(bind_ipi(&mut a, 2), Err(Errno::ENOENT));
    let pirq = abi::event_channel::BindPirq { pirq: 1, flags: 0, port: 0 };
    assert_eq!(call(&mut a, op::BIND_PIRQ, pirq).map(|_| ()), Err(Errno::EPERM));
    let pirq = abi::event_channel::BindPirq { pirq: 1000, flags: 0, port: 0 };
    assert_eq!(call(&mut a, op::BIND_PIRQ, pirq).map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(call(&mut a, op::EXPAND_ARRAY, ExpandArray { array_gfn: 1 }).map(|_| ()), Err(Errno::EOPNOTSUPP));
    let _ = bind_ipi(&mut a, 0);
    assert_eq!(call(&mut a, op::SET_PRIORITY, SetPriority { port: 1, priority: 1 }).map(|_| ()), Err(Errno::ENOSYS));
}

#[test]
fn a_failed_copy_out_leaves_no_port() {
    let mut a = Guest::new(1, 1);
    let arguments = BindIpi { vcpu: 0, port: 0 };
    let mut at_end = a.address(0).offset(4092);
    a.caller().cpu.write(at_end, &0u32).expect("mapped");
    // The argument is at the last four bytes of a page, and extends into one that is not mapped.
    assert!(matches!(event_channel_op(&mut a.caller(), op::BIND_IPI, at_end), Err(CallError::Errno(Errno::EFAULT))));
    at_end = a.put(&arguments);
    assert!(event_channel_op(&mut a.caller(), op::BIND_IPI, at_end).is_ok());
    assert_eq!(a.read::<BindIpi>(at_end).port, 1);
}

#[test]
fn a_destroyed_domain_unbinds_its_peers() {
    let (mut a, b) = (Guest::new(1, 1), Guest::new(2, 1));
    let mut b = b;
    let ports: Vec<u32> = (0..100).map(|_| alloc(&mut a, 2)).collect();
    for &port in &ports {
        bind(&mut b, 1, port).expect("accepts domain 2");
    }
    assert!(!b.domain.events.close_all(&b.domain, &mut Budget::new(64)), "the budget is too small for all");
    drop(b);
    for port in ports {
        assert_eq!(status_of(&mut a, port).expect("a port").status, status::UNBOUND);
    }
}

#[test]
fn both_ends_agree_while_domains_race() {
    const ROUNDS: u32 = 3000;
    let barrier = Barrier::new(2);
    let run = |own: u16, other: u16| {
        let mut guest = Guest::new(own, 1);
        barrier.wait();
        let mut state = u32::from(own);
        for _ in 0..ROUNDS {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let port = state >> 16 & 15;
            let _ = match state >> 28 & 3 {
                0 => Ok(alloc(&mut guest, other)),
                1 => bind(&mut guest, other, port),
                2 => send(&mut guest, port).map(|()| 0),
                _ => close(&mut guest, port).map(|()| 0),
            };
        }
        barrier.wait();
        // EC-1, checked from both ends.
        let peer = crate::domain::by_id(DomainId(other)).expect("the other domain");
        for port in 1..64 {
            let Ok(seen) = status_of(&mut guest, port) else { break };
            if seen.status == status::INTERDOMAIN {
                let table = peer.events.lock();
                let back = table.peer(Port::new(seen.remote_port)).expect("a port in use").expect("bound");
                assert_eq!((back.id.0, back.port), (own, Port::new(port)));
            }
        }
        barrier.wait();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run(1, 2));
        scope.spawn(|| run(2, 1));
    });
}

#[test]
fn ports_do_not_grow_while_the_heap_is_short() {
    let mut guest = Guest::new(1, 4);
    machine::hosted::heap::set_short(true);
    let free = (0..1000).take_while(|_| bind_ipi(&mut guest, 0).is_ok()).count();
    assert!(free < 64, "{free}");
    assert_eq!(bind_ipi(&mut guest, 0), Err(Errno::ENOMEM));
    machine::hosted::heap::set_short(false);
    assert!(bind_ipi(&mut guest, 0).is_ok());
}

#[test]
fn the_log_states_why_a_port_is_refused() {
    let mut a = Guest::new(1, 1);
    a.domain.events.set_limit(Port::new(2));
    assert_eq!((bind_ipi(&mut a, 0), bind_ipi(&mut a, 0)), (Ok(1), Ok(2)));
    assert!(!a.domain.reported_limits.has(crate::limits::Limit::EventChannels));
    assert_eq!(bind_ipi(&mut a, 0), Err(Errno::ENOSPC));
    assert!(a.domain.reported_limits.has(crate::limits::Limit::EventChannels));
}
