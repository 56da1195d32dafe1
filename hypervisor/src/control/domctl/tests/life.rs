//! Life of a domain that the control domain creates.

use abi::domctl::{CreateDomain, Domctl, GetDomainInfo, GetVcpuInfo, MaxMemory, info_flags, interface, op};
use abi::errno::Errno;
use abi::xen::{DomainId, hypercall};
use machine::frames;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::call::CallError;
use crate::domain::{self, EndReason};
use crate::hypercall::table;
use crate::lifecycle;
use crate::limits::Limit;
use crate::scheduler;
use crate::testing::Guest;

/// Makes a `domctl` with all its restarts. Returns the request as it is in memory afterwards.
fn call<T: IntoBytes + Immutable>(guest: &mut Guest, command: u32, domain: u16, argument: &T) -> Result<Domctl, Errno> {
    let mut request = Domctl::new_zeroed();
    (request.command, request.interface_version, request.domain) = (command, interface::VERSION, DomainId(domain));
    request.argument.iter_mut().zip(argument.as_bytes()).for_each(|(to, from)| *to = *from);
    let address = guest.put(&request);
    let row = table::row(hypercall::DOMCTL.into()).expect("a call that exists");
    loop {
        match (row.handler)(&mut guest.caller(), &[address.get(), 0, 0, 0, 0, 0]) {
            Ok(_) => return Ok(guest.read(address)),
            Err(CallError::Errno(errno)) => return Err(errno),
            Err(CallError::Continue(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn wanted() -> CreateDomain {
    let mut wanted = CreateDomain::new_zeroed();
    (wanted.max_vcpus, wanted.max_event_channel_port, wanted.grant_options) = (2, 1023, 1);
    (wanted.max_grant_frames, wanted.max_maptrack_frames, wanted.handle) = (-1, -1, [7; 16]);
    wanted
}

fn info(guest: &mut Guest, domain: u16) -> Result<GetDomainInfo, Errno> {
    let answer = call(guest, op::GETDOMAININFO, domain, &[0u8; 128])?;
    Ok(GetDomainInfo::read_from_prefix(&answer.argument).expect("long enough").0)
}

#[test]
fn creating_and_destroying_a_domain_leaks_nothing() {
    let mut guest = Guest::privileged(0, 4);
    let free = frames::free_frames();
    let id = call(&mut guest, op::CREATEDOMAIN, 0, &wanted()).expect("a domain").domain.0;
    assert_ne!(id, 0);
    assert_eq!(call(&mut guest, op::CREATEDOMAIN, id, &wanted()).err(), Some(Errno::EEXIST));
    assert!(call(&mut guest, op::MAX_MEM, id, &MaxMemory { kibibytes: 4096 }).is_ok());
    let seen = info(&mut guest, id).expect("it is there");
    assert_eq!((seen.domain.0, seen.max_pages, seen.handle), (id, 1024, [7; 16]));
    assert_ne!(seen.flags & info_flags::PAUSED, 0);
    assert!(call(&mut guest, op::UNPAUSEDOMAIN, id, &[0u8; 8]).is_ok());
    assert_eq!(call(&mut guest, op::UNPAUSEDOMAIN, id, &[0u8; 8]).err(), Some(Errno::EINVAL));
    assert!(call(&mut guest, op::DESTROYDOMAIN, id, &[0u8; 8]).is_ok());
    assert_eq!(call(&mut guest, op::PAUSEDOMAIN, id, &[0u8; 8]).err(), Some(Errno::ESRCH));
    assert_eq!(frames::free_frames(), free);
}

/// The flags of a domain, and the shutdown reason in them.
fn flags(guest: &mut Guest, domain: u16) -> (u32, u32) {
    let flags = info(guest, domain).expect("it is there").flags;
    (flags & 0xffff, flags >> info_flags::SHUTDOWNSHIFT)
}

#[test]
fn domain_flags_match_xen() {
    use info_flags::{BLOCKED, PAUSED, RUNNING, SHUTDOWN};
    const NO_REASON: u32 = 0xffff;
    let mut guest = Guest::privileged(0, 4);
    let id = call(&mut guest, op::CREATEDOMAIN, 0, &wanted()).expect("a domain").domain;
    let made = domain::by_id(id).expect("it is there");
    let vcpus = made.vcpus();
    // A domain without a vCPU that is up is neither blocked nor running.
    assert_eq!(flags(&mut guest, id.0), (PAUSED, NO_REASON));
    vcpus[0].set_up(true);
    assert_eq!(flags(&mut guest, id.0), (PAUSED, NO_REASON));
    scheduler::block(&vcpus[0]);
    assert_eq!(flags(&mut guest, id.0), (PAUSED | BLOCKED, NO_REASON));
    vcpus[1].set_up(true);
    assert_eq!(flags(&mut guest, id.0), (PAUSED, NO_REASON), "one of two is blocked");
    vcpus[1].set_up(false);
    // A reason that is fixed before the end is shown, but the domain is not shut down.
    made.scheduling.latch_shutdown_code(1);
    assert_eq!(flags(&mut guest, id.0), (PAUSED | BLOCKED, 1));
    lifecycle::end(&made, EndReason::Reboot);
    assert_eq!(flags(&mut guest, id.0), (PAUSED | BLOCKED | SHUTDOWN, 1));
    lifecycle::resume(&made);
    assert_eq!(flags(&mut guest, id.0), (PAUSED | BLOCKED, NO_REASON), "it runs again");
    assert_eq!(flags(&mut guest, id.0).0 & RUNNING, 0);
    let one = GetVcpuInfo { vcpu: 0, ..GetVcpuInfo::new_zeroed() };
    let answer = call(&mut guest, op::GETVCPUINFO, id.0, &one).expect("a vCPU");
    let seen = GetVcpuInfo::read_from_prefix(&answer.argument).expect("long enough").0;
    assert_eq!((seen.online, seen.blocked, seen.running), (1, 1, 0));
    let none = GetVcpuInfo { vcpu: 2, ..one };
    assert_eq!(call(&mut guest, op::GETVCPUINFO, id.0, &none).err(), Some(Errno::EINVAL));
    drop(made);
    assert!(call(&mut guest, op::DESTROYDOMAIN, id.0, &[0u8; 8]).is_ok());
}

#[test]
fn a_destroyed_domain_is_not_reported_as_shut_down() {
    let mut guest = Guest::privileged(0, 4);
    for (end, shown) in
        [(None, (info_flags::DYING, 0xffff)), (Some(EndReason::Crash), (info_flags::DYING | info_flags::SHUTDOWN, 3))]
    {
        let id = call(&mut guest, op::CREATEDOMAIN, 0, &wanted()).expect("a domain").domain;
        let made = domain::by_id(id).expect("it is there");
        let held = made.shared_info().frame().again();
        if let Some(reason) = end {
            lifecycle::end(&made, reason);
        }
        drop(made);
        assert!(call(&mut guest, op::DESTROYDOMAIN, id.0, &[0u8; 8]).is_ok());
        assert_eq!(flags(&mut guest, id.0), shown);
        drop(held);
        lifecycle::advance_destruction(&mut frames::Budget::new(1000));
    }
}

#[test]
fn an_impossible_domain_is_refused_and_allocates_nothing() {
    let mut guest = Guest::privileged(0, 4);
    let free = frames::free_frames();
    let refused: [fn(&mut CreateDomain); 7] = [
        |wanted| wanted.flags = 1,
        |wanted| wanted.flags = 0x20,
        |wanted| wanted.grant_options = 2,
        |wanted| wanted.max_vcpus = 0,
        |wanted| wanted.max_vcpus = u32::MAX,
        |wanted| wanted.max_grant_frames = i32::MAX,
        |wanted| wanted.arch.emulation_flags = 1,
    ];
    for (index, change) in refused.iter().enumerate() {
        let mut wanted = wanted();
        change(&mut wanted);
        assert_eq!(call(&mut guest, op::CREATEDOMAIN, 0, &wanted).err(), Some(Errno::EINVAL), "{index}");
    }
    for limit in [Limit::Vcpus, Limit::GrantFrames] {
        assert!(guest.domain.reported_limits.has(limit), "{limit:?} is not logged");
    }
    assert_eq!(frames::free_frames(), free);
    assert_eq!(call(&mut guest, op::DESTROYDOMAIN, 0, &[0u8; 8]).err(), Some(Errno::EINVAL), "the caller's own domain");
}

#[test]
fn a_domain_id_is_not_reused_while_others_hold_its_frames() {
    let mut guest = Guest::privileged(0, 4);
    let id = call(&mut guest, op::CREATEDOMAIN, 0, &wanted()).expect("a domain").domain;
    let held = domain::by_id(id).map(|domain| domain.shared_info().frame().again()).expect("it is there");
    assert!(
        call(&mut guest, op::DESTROYDOMAIN, id.0, &[0u8; 8]).is_ok(),
        "it does not wait for frames that others hold"
    );
    assert_ne!(info(&mut guest, id.0).expect("a zombie").flags & info_flags::DYING, 0);
    assert_eq!(call(&mut guest, op::CREATEDOMAIN, id.0, &wanted()).err(), Some(Errno::EEXIST));
    drop(held);
    lifecycle::advance_destruction(&mut frames::Budget::new(1000));
    assert!(call(&mut guest, op::CREATEDOMAIN, id.0, &wanted()).is_ok());
    assert!(call(&mut guest, op::DESTROYDOMAIN, id.0, &[0u8; 8]).is_ok());
}
