use abi::arch_x86_64::VcpuGuestContext;
use abi::errno::Errno;
use abi::vcpu::{
    RegisterRunstateMemoryArea, RegisterTimeMemoryArea, RegisterVcpuInfo, RunstateInfo, SetPeriodicTimer,
    SetSingleshotTimer, op, runstate, singleshot_timer,
};
use abi::xen::VcpuTimeInfo;
use alloc::sync::Arc;
use machine::addr::GuestVirt;
use machine::frames::{self, Budget, TypedRef, Writable};
use machine::hosted::time::advance;
use machine::paging::NoEntries;
use machine::time;
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::vcpu_op;
use crate::call::{CallError, CallResult, Continuation};
use crate::domain::{EndReason, Life, MAX_VCPUS, VcpuId};
use crate::scheduler;
use crate::testing::{Guest, rounds};
use crate::vcpu_loop;

const NOWHERE: GuestVirt = GuestVirt::new(0xdead_0000);
const NULL: GuestVirt = GuestVirt::new(0);

fn call(guest: &mut Guest, operation: u32, vcpu: u32, argument: &(impl IntoBytes + Immutable)) -> CallResult {
    let address = guest.put(argument);
    vcpu_op(&mut guest.caller(), operation, vcpu, address)
}

#[track_caller]
fn refused(result: CallResult, errno: Errno) {
    assert!(matches!(result, Err(CallError::Errno(found)) if found == errno), "{result:?}, not {errno:?}");
}

#[test]
fn unknown_vcpus_operations_and_bad_pointers_are_refused() {
    let mut guest = Guest::new(1, 2);
    refused(vcpu_op(&mut guest.caller(), op::IS_UP, 2, NULL), Errno::ENOENT);
    refused(vcpu_op(&mut guest.caller(), 99, u32::MAX, NULL), Errno::ENOENT);
    refused(vcpu_op(&mut guest.caller(), 99, 0, NULL), Errno::ENOSYS);
    refused(vcpu_op(&mut guest.caller(), op::GET_PHYSID, 0, NULL), Errno::EINVAL);
    for operation in [
        op::INITIALISE,
        op::GET_RUNSTATE_INFO,
        op::REGISTER_RUNSTATE_MEMORY_AREA,
        op::SET_PERIODIC_TIMER,
        op::SET_SINGLESHOT_TIMER,
        op::REGISTER_VCPU_INFO,
        op::REGISTER_VCPU_TIME_MEMORY_AREA,
    ] {
        refused(vcpu_op(&mut guest.caller(), operation, 0, NOWHERE), Errno::EFAULT);
    }
}

#[test]
fn a_vcpu_is_initialised_once_before_it_comes_up() {
    let mut guest = Guest::new(1, 4);
    refused(vcpu_op(&mut guest.caller(), op::UP, 1, NULL), Errno::EINVAL);
    let at = guest.address(2);
    let mut state = VcpuGuestContext::new_zeroed();
    guest.caller().cpu.write(at, &state).expect("mapped pages");
    // The state has no root table.
    refused(vcpu_op(&mut guest.caller(), op::INITIALISE, 1, at), Errno::EINVAL);
    let root = guest.caller().cpu.context().kernel_root().map(|root| root.mfn()).expect("a root table");
    state.control_registers[3] = crate::vcpu_context::cr3_of_frame(root);
    state.flags = abi::arch_x86_64::vgcf::IN_KERNEL;
    guest.caller().cpu.write(at, &state).expect("mapped pages");
    assert!(vcpu_op(&mut guest.caller(), op::INITIALISE, 1, at).is_ok());
    refused(vcpu_op(&mut guest.caller(), op::INITIALISE, 1, at), Errno::EEXIST);
    assert_eq!(vcpu_op(&mut guest.caller(), op::IS_UP, 1, NULL).ok(), Some(0));
    assert_eq!(vcpu_op(&mut guest.caller(), op::UP, 1, NULL).ok(), Some(0));
    assert_eq!(vcpu_op(&mut guest.caller(), op::IS_UP, 1, NULL).ok(), Some(1));
    assert_eq!(vcpu_op(&mut guest.caller(), op::DOWN, 1, NULL).ok(), Some(0));
    assert_eq!(vcpu_op(&mut guest.caller(), op::IS_UP, 1, NULL).ok(), Some(1), "the last vCPU that is up stays up");
    assert!(matches!(guest.domain.life(), Life::Ended(EndReason::Poweroff)));
    let parked = guest.domain.vcpu(VcpuId::new(1)).and_then(|vcpu| vcpu.parked().take());
    drop(parked);
}

#[test]
fn a_root_table_is_validated_without_the_vcpus_lock() {
    let mut guest = Guest::new(1, 4);
    let at = guest.address(2);
    let frame = || {
        let allocation = frames::allocate(guest.domain.id()).expect("a free frame");
        let frame = allocation.reference();
        guest.domain.frames.push(allocation);
        frame
    };
    let (root, lower) = (frame(), [frame(), frame()]);
    let page = TypedRef::<Writable>::acquire(root.again(), &mut NoEntries, &mut Budget::new(100));
    let page = page.expect("a frame that can be written");
    for (index, table) in (0..).zip(&lower) {
        page.write_u64(index, table.mfn().address().get() | 7);
    }
    drop((page, lower));
    let mut state = VcpuGuestContext::new_zeroed();
    state.control_registers[3] = crate::vcpu_context::cr3_of_frame(root.mfn());
    state.flags = abi::arch_x86_64::vgcf::IN_KERNEL;
    guest.caller().cpu.write(at, &state).expect("mapped pages");
    let vcpu = Arc::clone(guest.domain.vcpu(VcpuId::new(1)).expect("a vCPU"));
    let locked = vcpu.parked();
    let begun = vcpu_op(&mut guest.caller_with(1), op::INITIALISE, 1, at);
    assert!(matches!(begun, Err(CallError::Continue(Continuation { promotion: Some(_), .. }))), "{begun:?}");
    drop(locked);
    assert!(vcpu_op(&mut guest.caller(), op::INITIALISE, 1, at).is_ok());
    drop((begun, root, vcpu.parked().take()));
}

#[test]
fn a_vcpu_beyond_the_shared_info_page_needs_registered_info() {
    let mut guest = Guest::with_vcpus(1, 5, MAX_VCPUS);
    let at = guest.address(2);
    let mut state = VcpuGuestContext::new_zeroed();
    let root = guest.caller().cpu.context().kernel_root().map(|root| root.mfn()).expect("a root table");
    state.control_registers[3] = crate::vcpu_context::cr3_of_frame(root);
    state.flags = abi::arch_x86_64::vgcf::IN_KERNEL;
    guest.caller().cpu.write(at, &state).expect("mapped pages");
    refused(vcpu_op(&mut guest.caller(), op::IS_UP, MAX_VCPUS, NULL), Errno::ENOENT);
    assert!(vcpu_op(&mut guest.caller(), op::INITIALISE, 31, at).is_ok());
    for vcpu in [32, 33, 95, 96, MAX_VCPUS - 1] {
        refused(vcpu_op(&mut guest.caller(), op::INITIALISE, vcpu, at), Errno::EINVAL);
        let place = RegisterVcpuInfo { mfn: guest.mfn(4).get(), offset: vcpu % 64 * 64, reserved: 0 };
        assert!(call(&mut guest, op::REGISTER_VCPU_INFO, vcpu, &place).is_ok());
        refused(call(&mut guest, op::REGISTER_VCPU_INFO, vcpu, &place), Errno::EINVAL);
        assert!(vcpu_op(&mut guest.caller(), op::INITIALISE, vcpu, at).is_ok());
    }
    for vcpu in guest.domain.vcpus() {
        drop(vcpu.parked().take());
    }
}

#[test]
fn vcpus_go_down_while_another_is_up() {
    let mut guest = Guest::new(1, 2);
    for vcpu in guest.domain.vcpus() {
        vcpu.set_up(true);
    }
    assert_eq!(vcpu_op(&mut guest.caller(), op::DOWN, 1, NULL).ok(), Some(0));
    assert_eq!(vcpu_op(&mut guest.caller(), op::IS_UP, 1, NULL).ok(), Some(0));
    assert_eq!(guest.domain.life(), Life::Building);
}

#[test]
fn run_states_are_returned_and_written() {
    let mut guest = Guest::new(1, 2);
    let at = guest.address(1);
    assert!(vcpu_op(&mut guest.caller(), op::GET_RUNSTATE_INFO, 1, at).is_ok());
    assert_eq!(guest.read::<RunstateInfo>(at).state, runstate::OFFLINE);
    guest.caller().cpu.write(at, &RunstateInfo::new_zeroed()).expect("a mapped page");
    let area = RegisterRunstateMemoryArea { address: at.get() };
    assert!(call(&mut guest, op::REGISTER_RUNSTATE_MEMORY_AREA, 0, &area).is_ok());
    assert_eq!(guest.read::<RunstateInfo>(at).state, runstate::OFFLINE);
    let inside = RegisterRunstateMemoryArea { address: machine::addr::HYPERVISOR_START };
    refused(call(&mut guest, op::REGISTER_RUNSTATE_MEMORY_AREA, 0, &inside), Errno::EFAULT);
    // The address of an area need not be mapped. The area is written when it is mapped.
    let unmapped = RegisterRunstateMemoryArea { address: NOWHERE.get() };
    assert!(call(&mut guest, op::REGISTER_RUNSTATE_MEMORY_AREA, 0, &unmapped).is_ok());
    assert!(call(&mut guest, op::REGISTER_RUNSTATE_MEMORY_AREA, 0, &RegisterRunstateMemoryArea { address: 0 }).is_ok());
}

#[test]
fn a_copy_of_the_time_is_written_with_an_even_version() {
    let mut guest = Guest::new(1, 2);
    let at = guest.address(1);
    let area = RegisterTimeMemoryArea { address: at.get() };
    assert!(call(&mut guest, op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, &area).is_ok());
    let info: VcpuTimeInfo = guest.read(at);
    assert!(info.version != 0 && info.version.is_multiple_of(2));
    assert!(info.tsc_to_system_mul != 0);
    let inside = RegisterTimeMemoryArea { address: machine::addr::HYPERVISOR_END - 8 };
    refused(call(&mut guest, op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, &inside), Errno::EFAULT);
    assert!(call(&mut guest, op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, &RegisterTimeMemoryArea { address: 0 }).is_ok());
}

#[test]
fn timers_are_checked() {
    let mut guest = Guest::new(1, 2);
    let period = |period_ns| SetPeriodicTimer { period_ns };
    refused(call(&mut guest, op::SET_PERIODIC_TIMER, 0, &period(999_999)), Errno::EINVAL);
    refused(call(&mut guest, op::SET_PERIODIC_TIMER, 0, &period(u64::MAX)), Errno::EINVAL);
    assert!(call(&mut guest, op::SET_PERIODIC_TIMER, 1, &period(1_000_000)).is_ok());
    assert!(vcpu_op(&mut guest.caller(), op::STOP_PERIODIC_TIMER, 1, NULL).is_ok());

    let now = time::now();
    let shot = |timeout_absolute_ns, flags| SetSingleshotTimer { timeout_absolute_ns, flags, _pad: 0 };
    refused(call(&mut guest, op::SET_SINGLESHOT_TIMER, 0, &shot(0, singleshot_timer::FUTURE)), Errno::ETIME);
    assert!(call(&mut guest, op::SET_SINGLESHOT_TIMER, 0, &shot(0, 0)).is_ok());
    let later = shot(now + 10_000_000_000, singleshot_timer::FUTURE);
    assert!(call(&mut guest, op::SET_SINGLESHOT_TIMER, 0, &later).is_ok());
    refused(call(&mut guest, op::SET_SINGLESHOT_TIMER, 1, &later), Errno::EINVAL);
    refused(vcpu_op(&mut guest.caller(), op::STOP_SINGLESHOT_TIMER, 1, NULL), Errno::EINVAL);
    assert!(vcpu_op(&mut guest.caller(), op::STOP_SINGLESHOT_TIMER, 0, NULL).is_ok());
}

#[test]
fn vcpu_info_can_be_moved_once() {
    let mut guest = Guest::new(1, 3);
    let place = |mfn, offset| RegisterVcpuInfo { mfn, offset, reserved: 0 };
    let mfn = guest.mfn(2).get();
    refused(call(&mut guest, op::REGISTER_VCPU_INFO, 0, &place(mfn, 4096 - 63)), Errno::ENXIO);
    refused(call(&mut guest, op::REGISTER_VCPU_INFO, 0, &place(mfn, 4)), Errno::ENXIO);
    refused(call(&mut guest, op::REGISTER_VCPU_INFO, 0, &place(mfn, u32::MAX)), Errno::ENXIO);
    refused(call(&mut guest, op::REGISTER_VCPU_INFO, 0, &place(u64::MAX, 0)), Errno::EINVAL);
    let table = guest.entry_address(0) >> 12;
    refused(call(&mut guest, op::REGISTER_VCPU_INFO, 0, &place(table, 0)), Errno::EINVAL);
    for vcpu in [0, 1] {
        let offset = 128 * (vcpu + 1);
        assert!(call(&mut guest, op::REGISTER_VCPU_INFO, vcpu, &place(mfn, offset)).is_ok());
        refused(call(&mut guest, op::REGISTER_VCPU_INFO, vcpu, &place(mfn, 0)), Errno::EINVAL);
        let at = guest.address(2).offset(u64::from(offset));
        assert_eq!(guest.read::<[u8; 2]>(at), [1, 1], "pending, and masked as before");
    }
    // Only the vCPU itself can move the information of a vCPU that is up.
    let mut other = Guest::new(2, 3);
    other.domain.vcpu(VcpuId::new(1)).expect("a vCPU").set_up(true);
    let mfn = other.mfn(2).get();
    refused(call(&mut other, op::REGISTER_VCPU_INFO, 1, &place(mfn, 0)), Errno::EINVAL);
    for guest in [&guest, &other] {
        let parked = guest.domain.vcpu(VcpuId::new(1)).and_then(|vcpu| vcpu.parked().take());
        drop(parked);
    }
}

#[test]
fn an_nmi_wakes_a_blocked_vcpu() {
    let mut guest = Guest::new(1, 2);
    let vcpu = guest.domain.vcpu(VcpuId::new(1)).expect("a vCPU").clone();
    refused(vcpu_op(&mut guest.caller(), op::SEND_NMI, 1, NOWHERE), Errno::EINVAL);
    scheduler::block(&vcpu);
    assert!(vcpu.scheduling.is_blocked());
    assert!(vcpu_op(&mut guest.caller(), op::SEND_NMI, 1, NULL).is_ok());
    assert!(!vcpu.scheduling.is_blocked());
    scheduler::block(&vcpu);
    assert!(!vcpu.scheduling.is_blocked(), "the first NMI is still pending");
}

#[test]
fn random_calls_do_no_harm() {
    let mut guest = Guest::new(1, 3);
    let mut random = 1u64;
    let mut next = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    for _ in 0..rounds(20_000) {
        let words: [u64; 4] = core::array::from_fn(|_| match next(5) {
            0 => next(1 << 12),
            1 => u64::MAX - next(1 << 12),
            2 => guest.mfn(2).get(),
            3 => guest.address(2).get() + next(4096),
            _ => next(1 << 31) << next(33),
        });
        let argument = match next(4) {
            0 => NULL,
            1 => GuestVirt::new(words[0]),
            _ => guest.put(&words),
        };
        let (operation, vcpu) = (next(16) as u32, next(3) as u32);
        // The result does not matter; only the guest's own memory may be corrupted.
        let _ = vcpu_op(&mut guest.caller(), operation, vcpu, argument);
        if next(50) == 0 {
            advance(next(1 << 30));
            vcpu_loop::poll();
        }
    }
    for vcpu in guest.domain.vcpus() {
        vcpu.time.cancel_all();
    }
    let parked = guest.domain.vcpu(VcpuId::new(1)).and_then(|vcpu| vcpu.parked().take());
    drop(parked);
}
