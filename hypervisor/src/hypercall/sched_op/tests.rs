use core::sync::atomic::Ordering;

use abi::errno::Errno;
use abi::sched::{PinOverride, Poll, RemoteShutdown, Shutdown, Watchdog, op};
use abi::xen::DomainId;
use machine::addr::GuestVirt;
use machine::hosted::time::advance;
use zerocopy::{Immutable, IntoBytes};

use super::{sched_op, sched_op_compat};
use crate::call::{CallError, CallResult};
use crate::domain::{EndReason, Life, VcpuId};
use crate::event_channel::{allocate_for_paravane, notify_guest};
use crate::lifecycle;
use crate::scheduler;
use crate::testing::Guest;
use crate::vcpu_loop;

const NOWHERE: GuestVirt = GuestVirt::new(0xdead_0000);

fn call(guest: &mut Guest, operation: u32, argument: &(impl IntoBytes + Immutable)) -> CallResult {
    let address = guest.put(argument);
    sched_op(&mut guest.caller(), operation, address)
}

#[track_caller]
fn refused(result: CallResult, errno: Errno) {
    assert!(matches!(result, Err(CallError::Errno(found)) if found == errno), "{result:?}, not {errno:?}");
}

fn is_blocked(guest: &mut Guest) -> bool {
    guest.caller().vcpu.scheduling.is_blocked()
}

#[test]
fn unknown_operations_and_bad_pointers_are_refused() {
    let mut guest = Guest::new(1, 2);
    refused(sched_op(&mut guest.caller(), 8, NOWHERE), Errno::ENOSYS);
    refused(sched_op(&mut guest.caller(), u32::MAX, NOWHERE), Errno::ENOSYS);
    for operation in [op::SHUTDOWN, op::POLL, op::REMOTE_SHUTDOWN, op::SHUTDOWN_CODE, op::WATCHDOG] {
        refused(sched_op(&mut guest.caller(), operation, NOWHERE), Errno::EFAULT);
    }
    assert!(sched_op(&mut guest.caller(), op::YIELD, NOWHERE).is_ok());
}

#[test]
fn block_unmasks_events_and_waits_unless_one_is_pending() {
    let mut guest = Guest::new(1, 2);
    assert!(sched_op(&mut guest.caller(), op::BLOCK, NOWHERE).is_ok());
    assert!(is_blocked(&mut guest));
    let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU").clone();
    assert_eq!(vcpu.info().upcall_mask().load(Ordering::SeqCst), 0);
    scheduler::notify(&vcpu);
    assert!(!is_blocked(&mut guest));
    // An event is pending that it has not handled.
    assert!(sched_op(&mut guest.caller(), op::BLOCK, NOWHERE).is_ok());
    assert!(!is_blocked(&mut guest));
}

#[test]
fn poll_checks_only_its_ports() {
    let mut guest = Guest::new(1, 2);
    let domain = guest.domain.clone();
    let port = allocate_for_paravane(&domain, crate::xenstore::CONSUMER).expect("a free port");
    let other = allocate_for_paravane(&domain, crate::console::CONSUMER).expect("a free port");
    let list = guest.address(1);
    guest.caller().cpu.write(list, &port.get()).expect("a mapped page");
    let poll = Poll { ports: list.get(), port_count: 1, _pad: 0, timeout: 0 };
    assert!(call(&mut guest, op::POLL, &poll).is_ok());
    assert!(is_blocked(&mut guest));
    notify_guest(&domain, other);
    notify_guest(&domain, port);
    assert!(!is_blocked(&mut guest));
    // The port is still pending, so it does not wait.
    assert!(call(&mut guest, op::POLL, &poll).is_ok());
    assert!(!is_blocked(&mut guest));

    refused(call(&mut guest, op::POLL, &Poll { port_count: 129, ..poll }), Errno::EINVAL);
    refused(call(&mut guest, op::POLL, &Poll { ports: NOWHERE.get(), ..poll }), Errno::EFAULT);
    guest.caller().cpu.write(list, &u32::MAX).expect("a mapped page");
    refused(call(&mut guest, op::POLL, &poll), Errno::EINVAL);
    assert!(!is_blocked(&mut guest));
}

#[test]
fn a_poll_without_ports_ends_at_its_timeout() {
    let mut guest = Guest::new(1, 2);
    let limit = machine::time::now() + 5_000_000_000;
    assert!(call(&mut guest, op::POLL, &Poll { ports: 0, port_count: 0, _pad: 0, timeout: limit }).is_ok());
    vcpu_loop::poll();
    assert!(is_blocked(&mut guest));
    advance(5_000_000_000);
    vcpu_loop::poll();
    assert!(!is_blocked(&mut guest));
}

#[test]
fn shutdown_ends_the_domain_with_the_first_code() {
    let mut guest = Guest::new(1, 2);
    lifecycle::start(&guest.domain);
    assert!(call(&mut guest, op::SHUTDOWN_CODE, &Shutdown { reason: 1 }).is_ok());
    assert!(call(&mut guest, op::SHUTDOWN_CODE, &Shutdown { reason: 3 }).is_ok());
    assert_eq!(guest.domain.life(), Life::Running);
    assert!(call(&mut guest, op::SHUTDOWN, &Shutdown { reason: 0 }).is_ok());
    assert_eq!(guest.domain.life(), Life::Ended(EndReason::Reboot));
}

#[test]
fn an_unknown_shutdown_reason_ends_the_domain_too() {
    let mut guest = Guest::new(1, 2);
    lifecycle::start(&guest.domain);
    assert!(call(&mut guest, op::SHUTDOWN, &Shutdown { reason: 77 }).is_ok());
    assert!(matches!(guest.domain.life(), Life::Ended(EndReason::Killed(_))));
}

#[test]
fn sched_op_compat_has_three_operations() {
    let mut guest = Guest::new(1, 2);
    lifecycle::start(&guest.domain);
    refused(sched_op_compat(&mut guest.caller(), op::POLL, 0), Errno::ENOSYS);
    assert!(sched_op_compat(&mut guest.caller(), op::YIELD, 0).is_ok());
    assert!(sched_op_compat(&mut guest.caller(), op::BLOCK, 0).is_ok());
    assert!(is_blocked(&mut guest));
    assert!(sched_op_compat(&mut guest.caller(), op::SHUTDOWN, 3).is_ok());
    assert_eq!(guest.domain.life(), Life::Ended(EndReason::Crash));
}

#[test]
fn an_unprivileged_domain_cannot_shut_down_others() {
    let mut guest = Guest::new(1, 2);
    let mut shut_down = |domain| call(&mut guest, op::REMOTE_SHUTDOWN, &RemoteShutdown { domain, _pad: 0, reason: 0 });
    for domain in [DomainId(1), DomainId::SELF, DomainId(0)] {
        refused(shut_down(domain), Errno::EPERM);
    }
    refused(shut_down(DomainId(77)), Errno::ESRCH);
    refused(call(&mut guest, op::PIN_OVERRIDE, &PinOverride { pcpu: 0 }), Errno::EPERM);
    refused(sched_op(&mut guest.caller(), op::PIN_OVERRIDE, NOWHERE), Errno::EPERM);
}

#[test]
fn an_expired_watchdog_ends_the_domain() {
    let mut guest = Guest::new(1, 2);
    lifecycle::start(&guest.domain);
    let mut set = |id, timeout| call(&mut guest, op::WATCHDOG, &Watchdog { id, timeout });
    refused(set(0, 0), Errno::EINVAL);
    refused(set(1, 5), Errno::EINVAL);
    refused(set(3, 5), Errno::EINVAL);
    refused(set(u32::MAX, 5), Errno::EINVAL);
    assert_eq!(set(0, 5).expect("a watchdog"), 1);
    assert_eq!(set(0, 500).expect("a second one"), 2);
    refused(set(0, 5), Errno::ENOSPC);
    advance(4_000_000_000);
    assert!(set(1, 5).is_ok());
    advance(4_000_000_000);
    vcpu_loop::poll();
    // The second watchdog is stopped and its slot can be used again.
    assert!(set(2, 0).is_ok());
    refused(set(2, 0), Errno::EINVAL);
    assert_eq!(set(0, u32::MAX).expect("free again"), 2);
    assert_eq!(guest.domain.life(), Life::Running);
    advance(1_100_000_000);
    vcpu_loop::poll();
    assert_eq!(guest.domain.life(), Life::Ended(EndReason::Watchdog));
}
