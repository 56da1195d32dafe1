//! `vcpu_op`, timers, and the argument checks of `grant_table_op`, `physdev_op` and `hvm_op`.

use kernel::abi::vcpu::{RunstateInfo, SetPeriodicTimer, SetSingleshotTimer, op};
use kernel::call::{error, number};
use kernel::memory::{initial_domain, mfn_of, page, peek, poke};
use kernel::{call, check, check_eq};

use crate::faults;

pub(crate) fn all() {
    vcpu_op();
    timers();
    grant_table();
    devices();
}

fn vcpu_op() {
    let place = page();
    let vcpu_op = |op: u32, vcpu: u32, argument: u64| call!(number::VCPU_OP, op, vcpu, argument);
    for op in 0..=13 {
        check_eq!(vcpu_op(op, 7777, place), error::ENOENT, "vcpu_op {op} on vCPU 7777");
    }
    for op in [14u32, 100, u32::MAX] {
        check_eq!(vcpu_op(op, 0, place), error::ENOSYS, "vcpu_op, unknown {op}");
    }
    check_eq!(vcpu_op(op::IS_UP, 0, 0), 1, "vCPU 0 is up");
    check_eq!(vcpu_op(op::UP, 0, 0), 0, "up, again");
    faults("vcpu_op initialise", |bad| vcpu_op(op::INITIALISE, 0, bad));
    let context = kernel::memory::pages(2);
    check_eq!(vcpu_op(op::INITIALISE, 0, context), error::EEXIST, "initialise vCPU 0");
    check_eq!(vcpu_op(op::GET_RUNSTATE_INFO, 0, place), 0, "get_runstate_info");
    let runstate: RunstateInfo = peek(place);
    check_eq!(runstate.state, 0, "it runs");
    check!(runstate.time[0] > 0, "it has run");
    faults("get_runstate_info", |bad| vcpu_op(op::GET_RUNSTATE_INFO, 0, bad));
    // An area that is not mapped is accepted: it is written once it is mapped.
    poke(place, crate::BAD[1]);
    check_eq!(vcpu_op(op::REGISTER_RUNSTATE_MEMORY_AREA, 0, place), error::EFAULT, "runstate area in the hypervisor");
    check_eq!(vcpu_op(op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, place), error::EFAULT, "time area in the hypervisor");
    poke(place, page());
    check_eq!(vcpu_op(op::REGISTER_RUNSTATE_MEMORY_AREA, 0, place), 0, "runstate area");
    check_eq!(peek::<RunstateInfo>(peek::<u64>(place)).state, 0, "the area is filled immediately");
    poke(place, 0u64);
    check_eq!(vcpu_op(op::REGISTER_RUNSTATE_MEMORY_AREA, 0, place), 0, "no runstate area");
    faults("runstate area", |bad| vcpu_op(op::REGISTER_RUNSTATE_MEMORY_AREA, 0, bad));
    faults("time area", |bad| vcpu_op(op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, bad));
    poke(place, page());
    check_eq!(vcpu_op(op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, place), 0, "time area");
    check!(peek::<u32>(peek::<u64>(place) + 24) != 0, "the area is filled immediately");
    poke(place, 0u64);
    check_eq!(vcpu_op(op::REGISTER_VCPU_TIME_MEMORY_AREA, 0, place), 0, "no time area");
    faults("register_vcpu_info", |bad| vcpu_op(op::REGISTER_VCPU_INFO, 0, bad));
    poke(place, [mfn_of(place), 4096 - 32]);
    check_eq!(vcpu_op(op::REGISTER_VCPU_INFO, 0, place), error::ENXIO, "vcpu_info across a page's end");
    poke(place, [0xff_ffff_ffffu64, 0]);
    check_eq!(vcpu_op(op::REGISTER_VCPU_INFO, 0, place), error::EINVAL, "vcpu_info in a nonexistent frame");
    let result = vcpu_op(op::GET_PHYSID, 0, place);
    check!(result == error::EINVAL || result == 0 && initial_domain(), "get_physid without a pinned vCPU: {result}");
}

fn timers() {
    let vcpu_op = |op: u32, argument: u64| call!(number::VCPU_OP, op, 0u32, argument);
    let place = page();
    poke(place, SetPeriodicTimer { period_ns: 1_000_000_000 });
    check_eq!(vcpu_op(op::SET_PERIODIC_TIMER, place), 0, "set_periodic_timer");
    check_eq!(vcpu_op(op::STOP_PERIODIC_TIMER, 0), 0, "stop_periodic_timer");
    poke(place, SetPeriodicTimer { period_ns: 1000 });
    check_eq!(vcpu_op(op::SET_PERIODIC_TIMER, place), error::EINVAL, "a period of a microsecond");
    poke(place, SetPeriodicTimer { period_ns: 1 << 62 });
    check_eq!(vcpu_op(op::SET_PERIODIC_TIMER, place), error::EINVAL, "a period of a century");
    faults("set_periodic_timer", |bad| vcpu_op(op::SET_PERIODIC_TIMER, bad));
    let single = |timeout: u64, flags: u32| {
        poke(place, SetSingleshotTimer { timeout_absolute_ns: timeout, flags, _pad: 0 });
        vcpu_op(op::SET_SINGLESHOT_TIMER, place)
    };
    check_eq!(single(1 << 50, 0), 0, "set_singleshot_timer");
    // The flag for this error is in the header; Xen 4.17 ignores it.
    let result = single(1, 1);
    check!(result == error::ETIME || result == 0, "a time that is past, future wanted: {result}");
    check_eq!(single(1, 0), 0, "a time that is past");
    check_eq!(vcpu_op(op::STOP_SINGLESHOT_TIMER, 0), 0, "stop_singleshot_timer");
    faults("set_singleshot_timer", |bad| vcpu_op(op::SET_SINGLESHOT_TIMER, bad));
    for time in [0, 1, 1 << 50, 1 << 63, u64::MAX] {
        check_eq!(call!(number::SET_TIMER_OP, time), 0, "set_timer_op {time:#x}");
    }
    check_eq!(call!(number::SET_TIMER_OP, 0u32), 0, "no timer");
}

fn grant_table() {
    let grant = |op: u32, list: u64, count: u32| call!(number::GRANT_TABLE_OP, op, list, count);
    let place = page();
    for op in [3u32, 13, 100] {
        check_eq!(grant(op, place, 1), error::ENOSYS, "grant_table_op, unknown {op}");
    }
    for op in [0u32, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12] {
        faults("grant_table_op", |bad| grant(op, bad, 1));
        check_eq!(grant(op, place, 0x8000_0000), error::EINVAL, "grant_table_op {op} with 2^31 entries");
    }
}

fn devices() {
    let place = page();
    check_eq!(call!(number::PHYSDEV_OP, 100u32, place), error::ENOSYS, "physdev_op, unknown");
    // set_iopl and set_iobitmap need no privilege.
    poke(place, [1u32, 0]);
    check_eq!(call!(number::PHYSDEV_OP, 6u32, place), 0, "set_iopl 1");
    poke(place, [4u32, 0]);
    check_eq!(call!(number::PHYSDEV_OP, 6u32, place), error::EINVAL, "set_iopl 4");
    faults("set_iopl", |bad| call!(number::PHYSDEV_OP, 6u32, bad));
    poke(place, [0u64, 0]);
    check_eq!(call!(number::PHYSDEV_OP, 7u32, place), 0, "set_iobitmap, none");
    poke(place, [0u64, 65537]);
    check_eq!(call!(number::PHYSDEV_OP, 7u32, place), error::EINVAL, "set_iobitmap, too long");
    let result = call!(number::HVM_OP, 0u32, place);
    check!(result < 0, "hvm_op set_param of a PV guest: {result}");
    check_eq!(call!(number::HVM_OP, 200u32, place), error::ENOSYS, "hvm_op, unknown");
}
