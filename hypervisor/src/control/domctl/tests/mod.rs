//! Policies, weights and affinities that the tools set for another domain.

mod life;
mod log_dirty;
mod msrs;

use std::vec::Vec;

use abi::arch_x86_64::{CpuidLeaf, MsrEntry};
use abi::domctl::*;
use abi::xen::{CpuBitmap, DomainId};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use super::*;
use crate::call::CallError;
use crate::cpu_policy::{feature_set, system};
use crate::lifecycle;
use crate::scheduler;
use crate::testing::{Guest, hypercall};
use abi::xen::hypercall as number;

const OTHER: DomainId = DomainId(5);
/// An address that is not mapped.
const NOWHERE: u64 = 0x10_0000;

/// The control domain, and another domain that has not been started.
fn two() -> (Guest, Guest) {
    (Guest::privileged(0, 6), Guest::new(OTHER.0, 2))
}

/// Makes a call about a domain. Returns the result, and the argument afterwards.
fn call<T>(guest: &mut Guest, command: u32, domain: DomainId, argument: &T) -> (Result<u64, Errno>, T)
where
    T: FromBytes + IntoBytes + Immutable,
{
    let mut request = Domctl { command, interface_version: interface::VERSION, domain, ..Domctl::new_zeroed() };
    request.argument[..size_of::<T>()].copy_from_slice(argument.as_bytes());
    let place = guest.put(&request);
    let result = match hypercall(&mut guest.caller_with(1 << 20), number::DOMCTL, [place.get()]) {
        Ok(value) => Ok(value),
        Err(CallError::Errno(errno)) => Err(errno),
        Err(other) => panic!("{other:?}"),
    };
    let after = guest.read::<Domctl>(place).argument;
    (result, T::read_from_prefix(&after).expect("an argument fits").0)
}

fn write<T: IntoBytes + Immutable>(guest: &mut Guest, page: usize, list: &[T]) -> u64 {
    let base = guest.address(page);
    for (index, entry) in (0..).zip(list) {
        guest.caller().cpu.write_element(base, index, entry).expect("a mapped page");
    }
    base.get()
}

#[test]
fn device_assignment_is_refused_and_removal_from_quarantine_succeeds() {
    let (mut control, mut other) = two();
    let device = AssignDevice { machine_sbdf: 0xfb, ..AssignDevice::new_zeroed() };
    for domain in [OTHER, DomainId::IO] {
        assert_eq!(call(&mut control, op::ASSIGN_DEVICE, domain, &device).0, Err(Errno::EOPNOTSUPP));
    }
    assert_eq!(call(&mut control, op::DEASSIGN_DEVICE, DomainId::IO, &device).0, Ok(0));
    let other_kind = AssignDevice { device_kind: device_kind::DT, ..device };
    assert_eq!(call(&mut control, op::DEASSIGN_DEVICE, DomainId::IO, &other_kind).0, Err(Errno::EOPNOTSUPP));
    assert_eq!(call(&mut other, op::DEASSIGN_DEVICE, DomainId::IO, &device).0, Err(Errno::EPERM));
}

#[test]
fn a_policy_is_set_within_the_maximum_and_read_back() {
    let (mut control, other) = two();
    let mut leaves: Vec<CpuidLeaf> = system().usual.list().collect();
    for entry in &mut leaves {
        // AVX is removed, and features that guests cannot have (VMX, MONITOR) are requested.
        if entry.leaf == 1 {
            entry.ecx = entry.ecx & !(1 << 28) | 1 << 3 | 1 << 5;
        }
    }
    let msrs = [MsrEntry { index: 0xce, flags: 0, value: 0 }];
    let ask = CpuPolicy {
        leaf_count: leaves.len() as u32,
        leaves: write(&mut control, 1, &leaves),
        msr_count: 1,
        msrs: write(&mut control, 5, &msrs),
        ..CpuPolicy::new_zeroed()
    };
    let (result, answer) = call(&mut control, op::SET_CPU_POLICY, OTHER, &ask);
    assert_eq!(result, Ok(0));
    assert_eq!((answer.error_leaf, answer.error_subleaf, answer.error_msr), (u32::MAX, u32::MAX, u32::MAX));
    let ecx = feature_set(&other.domain.cpu_policy())[1];
    assert_eq!(ecx & (1 << 3 | 1 << 5 | 1 << 28), 0);
    assert_eq!(other.domain.cpu_policy().list().find(|entry| entry.leaf == 1).map(|entry| entry.ecx), Some(ecx));

    let room = CpuPolicy { leaf_count: 120, ..ask };
    let (result, answer) = call(&mut control, op::GET_CPU_POLICY, OTHER, &CpuPolicy { msr_count: 2, ..room });
    assert_eq!((result, answer.msr_count), (Ok(0), 2));
    let base = machine::addr::GuestVirt::new(ask.leaves);
    let back: Vec<CpuidLeaf> = (0..answer.leaf_count)
        .map(|index| control.caller().cpu.read_element(base, index.into()).expect("a mapped page"))
        .collect();
    let expected: Vec<CpuidLeaf> = other.domain.cpu_policy().list().collect();
    assert_eq!(back.as_bytes(), expected.as_bytes());
    // Bits of ARCH_CAPABILITIES beyond the maximum are not shown, as those of CPUID.
    let msrs = [MsrEntry { index: 0x10a, flags: 0, value: u64::MAX }];
    let most = CpuPolicy { msr_count: 1, msrs: write(&mut control, 5, &msrs), ..CpuPolicy::new_zeroed() };
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &most).0, Ok(0));
    let [maximum, told] = [&system().maximum, &other.domain.cpu_policy()].map(feature_set);
    let shows = told[9] >> 29 & 1 == 1;
    assert_eq!(told[16..18], if shows { [maximum[16], maximum[17]] } else { [0; 2] });
    assert_eq!(call(&mut control, op::GET_CPU_POLICY, OTHER, &CpuPolicy { msr_count: 2, ..room }).0, Ok(0));
    let expected: Vec<CpuidLeaf> = other.domain.cpu_policy().list().collect();
    // A policy that was read can be set again, as a restore does.
    let again = CpuPolicy { leaf_count: answer.leaf_count, msr_count: 2, ..ask };
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &again).0, Ok(0));
    assert_eq!(other.domain.cpu_policy().list().collect::<Vec<_>>().as_bytes(), expected.as_bytes());
}

#[test]
fn an_invalid_policy_is_refused_and_its_leaf_reported() {
    let (mut control, other) = two();
    let before = other.domain.cpu_policy();
    let leaf = |leaf, subleaf, eax| CpuidLeaf { leaf, subleaf, eax, ebx: 0, ecx: 0, edx: 0 };
    let refused = [
        (leaf(0xe, u32::MAX, 0), Errno::ERANGE),
        (leaf(1, 0, 0), Errno::ERANGE),
        (leaf(0, u32::MAX, 0x80), Errno::EINVAL),
    ];
    for (entry, errno) in refused {
        let list = write(&mut control, 1, &[entry]);
        let ask = CpuPolicy { leaf_count: 1, leaves: list, ..CpuPolicy::new_zeroed() };
        let (result, answer) = call(&mut control, op::SET_CPU_POLICY, OTHER, &ask);
        assert_eq!((result, answer.error_leaf, answer.error_subleaf), (Err(errno), entry.leaf, entry.subleaf));
    }
    for (index, flags, value, errno) in [
        (0x10, 0, 0, Errno::ERANGE),
        (0xce, 1, 0, Errno::EINVAL),
        (0xce, 0, 1, Errno::EINVAL),
        (0x10a, 1, 0, Errno::EINVAL),
    ] {
        let list = write(&mut control, 1, &[MsrEntry { index, flags, value }]);
        let ask = CpuPolicy { msr_count: 1, msrs: list, ..CpuPolicy::new_zeroed() };
        let (result, answer) = call(&mut control, op::SET_CPU_POLICY, OTHER, &ask);
        assert_eq!((result, answer.error_msr), (Err(errno), index));
    }
    let ask = CpuPolicy { leaf_count: 1, leaves: NOWHERE, ..CpuPolicy::new_zeroed() };
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &ask).0, Err(Errno::EFAULT));
    let ask = CpuPolicy { leaf_count: u32::MAX, ..ask };
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &ask).0, Err(Errno::E2BIG));
    let ask = CpuPolicy { msr_count: 3, ..CpuPolicy::new_zeroed() };
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &ask).0, Err(Errno::E2BIG));
    let none = CpuPolicy::new_zeroed();
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, DomainId(0), &none).0, Err(Errno::EINVAL), "its own");
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, DomainId(9), &none).0, Err(Errno::ESRCH));
    let small = CpuPolicy { leaf_count: 1, leaves: control.address(1).get(), ..none };
    assert_eq!(call(&mut control, op::GET_CPU_POLICY, OTHER, &small).0, Err(Errno::ENOBUFS));
    let (result, answer) = call(&mut control, op::GET_CPU_POLICY, OTHER, &none);
    assert_eq!((result, answer.msr_count), (Ok(0), 2), "the length query");
    assert_eq!(other.domain.cpu_policy(), before, "nothing has changed");
    lifecycle::start(&other.domain);
    assert_eq!(call(&mut control, op::SET_CPU_POLICY, OTHER, &none).0, Err(Errno::EEXIST));
    scheduler::pause(&other.domain);
}

#[test]
fn weight_and_cap_are_set_and_read_back() {
    let (mut control, other) = two();
    let ask = |command, weight, cap| SchedulerCredit { scheduler: 6, command, weight, cap, _pad: [0; 12] };
    let (get, put) = (scheduler_command::GETINFO, scheduler_command::PUTINFO);
    let told = |control: &mut Guest| {
        let (result, answer) = call(control, op::SCHEDULER_OP, OTHER, &ask(get, 0, 0));
        result.map(|_| (answer.weight, answer.cap))
    };
    assert_eq!(told(&mut control), Ok((256, 0)));
    assert_eq!(call(&mut control, op::SCHEDULER_OP, OTHER, &ask(put, 512, 50)).0, Ok(0));
    assert_eq!(told(&mut control), Ok((512, 50)));
    assert_eq!(other.domain.scheduling.share(), (512, 50));
    assert_eq!(call(&mut control, op::SCHEDULER_OP, OTHER, &ask(put, 0, u16::MAX)).0, Ok(0));
    assert_eq!(told(&mut control), Ok((512, u16::MAX)));
    for command in [scheduler_command::PUTVCPUINFO, scheduler_command::GETVCPUINFO, 9] {
        assert_eq!(call(&mut control, op::SCHEDULER_OP, OTHER, &ask(command, 1, 1)).0, Err(Errno::EINVAL));
    }
    let credit = SchedulerCredit { scheduler: 5, ..ask(put, 1, 1) };
    assert_eq!(call(&mut control, op::SCHEDULER_OP, OTHER, &credit).0, Err(Errno::EINVAL));
    assert_eq!(told(&mut control), Ok((512, u16::MAX)));
}

#[test]
fn affinities_are_set_and_answered_with_the_effective_sets() {
    let (mut control, other) = two();
    let place = control.address(1).get();
    let bitmap = |at: u64| CpuBitmap { bitmap: at, bit_count: 16, _pad: 0 };
    let ask = |flags| VcpuAffinity { vcpu: 1, flags, hard: bitmap(place), soft: bitmap(place + 8) };
    let set = |control: &mut Guest, flags, hard: u64, soft: u64| {
        write(control, 1, &[hard, soft]);
        let result = call(control, op::SETVCPUAFFINITY, OTHER, &ask(flags)).0;
        let at = machine::addr::GuestVirt::new(place);
        result.map(|_| (control.read::<u16>(at), control.read::<u16>(at.offset(8))))
    };
    let both = vcpu_affinity::HARD | vcpu_affinity::SOFT;
    let online = (1 << machine::cpu::online().min(16)) - 1;
    assert_eq!(set(&mut control, both, 0xff01, 0xff01), Ok((0xff01 & online, 1)));
    let vcpu = other.domain.vcpu(VcpuId::new(1)).expect("a vCPU");
    assert_eq!((vcpu.scheduling.affinity().bits(), vcpu.scheduling.soft_affinity().bits()), (0xff01, 0xff01));
    assert_eq!(set(&mut control, both, 0, 1), Err(Errno::EINVAL));
    assert_eq!(set(&mut control, both, 1, 1 << 15), Err(Errno::EINVAL));
    assert_eq!(set(&mut control, 0, 1, 1), Err(Errno::EINVAL));
    assert_eq!(set(&mut control, 8 | both, 1, 1), Err(Errno::EINVAL));
    assert_eq!(vcpu.scheduling.affinity().bits(), 0xff01, "nothing has changed");
    write(&mut control, 1, &[0u64, 0]);
    assert_eq!(call(&mut control, op::GETVCPUAFFINITY, OTHER, &ask(both)).0, Ok(0));
    assert_eq!(control.read::<u64>(control.address(1)), 0xff01);
    let bad = VcpuAffinity { hard: bitmap(NOWHERE), ..ask(both) };
    assert_eq!(call(&mut control, op::SETVCPUAFFINITY, OTHER, &bad).0, Err(Errno::EFAULT));
    let none = VcpuAffinity { vcpu: 9, ..ask(both) };
    assert_eq!(call(&mut control, op::SETVCPUAFFINITY, OTHER, &none).0, Err(Errno::EINVAL));
}
