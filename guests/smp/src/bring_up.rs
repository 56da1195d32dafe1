//! Initialise, up, down, and the initial state of a vCPU.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::abi::arch_x86_64::VcpuGuestContext;
use kernel::abi::vcpu::{RunstateInfo, op, runstate};
use kernel::abi::xen::{VcpuTimeInfo, pvclock};
use kernel::call::error;
use kernel::memory::{mfn_of, page, pages, peek, poke, vcpu_info};
use kernel::start::vcpu;
use kernel::{check, check_eq, say, smp, time};

use crate::{ROUNDS, VCPUS, join, run_on, vcpu_op, wait_for, worker};

static CLOCK: AtomicU64 = AtomicU64::new(0);
static BACKWARDS: AtomicU64 = AtomicU64::new(0);
static TURN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn all() {
    refused();
    up();
    down_and_up();
    clocks();
}

fn refused() {
    let place = pages(2);
    for vcpu in 1..VCPUS {
        check_eq!(vcpu_op(op::IS_UP, vcpu, 0), 0, "vCPU {vcpu} is down");
        check_eq!(vcpu_op(op::UP, vcpu, 0), error::EINVAL, "vCPU {vcpu} is not initialised");
    }
    let good = smp::context(1, || ());
    let initialise = |change: &dyn Fn(&mut VcpuGuestContext)| {
        let mut context = good;
        change(&mut context);
        poke(place, context);
        vcpu_op(op::INITIALISE, 1, place)
    };
    const BAD: u64 = 0x0000_8000_0000_0000;
    check_eq!(initialise(&|context| context.user_regs.rip = BAD), error::EINVAL, "RIP not canonical");
    check_eq!(initialise(&|context| context.event_callback_rip = BAD), error::EINVAL, "event callback not canonical");
    check_eq!(
        initialise(&|context| context.failsafe_callback_rip = BAD),
        error::EINVAL,
        "failsafe callback not canonical"
    );
    check_eq!(
        initialise(&|context| context.syscall_callback_rip = BAD),
        error::EINVAL,
        "syscall callback not canonical"
    );
    check_eq!(initialise(&|context| context.fs_base = BAD), error::EINVAL, "FS base not canonical");
    check_eq!(initialise(&|context| context.gs_base_kernel = BAD), error::EINVAL, "GS base not canonical");
    check_eq!(initialise(&|context| context.traps[6].address = BAD), error::EINVAL, "trap handler not canonical");
    check_eq!(
        initialise(&|context| context.control_registers[3] = 0xff_ffff_f000),
        error::EINVAL,
        "a nonexistent root"
    );
    check_eq!(
        initialise(&|context| context.control_registers[3] = mfn_of(place) << 12),
        error::EINVAL,
        "an invalid root"
    );
    check_eq!(initialise(&|context| context.gdt_entries = 8000), error::EINVAL, "a GDT that is too long");
    check_eq!(initialise(&|context| context.ldt_entries = 9000), error::EINVAL, "an LDT that is too long");
    check_eq!(vcpu_op(op::IS_UP, 1, 0), 0, "vCPU 1 is still down");
}

fn up() {
    for vcpu in 1..VCPUS {
        check_eq!(smp::start(vcpu, worker), 0, "vCPU {vcpu} starts");
        if !wait_for(&ROUNDS[vcpu], 1, "a vCPU's first round") {
            kernel::harness::error(format_args!("vCPU {vcpu} does not run"));
        }
        let place = pages(2);
        poke(place, smp::context(vcpu, worker));
        check_eq!(vcpu_op(op::INITIALISE, vcpu, place), error::EEXIST, "vCPU {vcpu} again");
    }
    check_eq!(vcpu_op(op::INITIALISE, 7777, pages(2)), error::ENOENT, "a vCPU too many");
}

fn down_and_up() {
    for vcpu in 1..VCPUS {
        join(vcpu);
        // The state may be reported as offline a moment after the vCPU is down.
        let place = page();
        let end = time::now() + 1_000_000_000;
        let state = loop {
            check_eq!(vcpu_op(op::GET_RUNSTATE_INFO, vcpu, place), 0, "runstate of vCPU {vcpu}");
            let state = peek::<RunstateInfo>(place).state;
            if state == runstate::OFFLINE || time::now() > end {
                break state;
            }
            kernel::call::yield_now();
        };
        check_eq!(state, runstate::OFFLINE, "vCPU {vcpu} is offline");
    }
    for round in 2..20 {
        for vcpu in 1..VCPUS {
            run_on(vcpu, || ());
        }
        for counter in &ROUNDS[1..] {
            wait_for(counter, round, "another round");
        }
    }
    for vcpu in 1..VCPUS {
        join(vcpu);
    }
    // A running vCPU can be taken down by another one, and continues where it was.
    static SPINS: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicU64 = AtomicU64::new(0);
    run_on(1, || {
        while STOP.load(SeqCst) == 0 {
            SPINS.fetch_add(1, SeqCst);
        }
    });
    wait_for(&SPINS, 1, "a vCPU that spins");
    check_eq!(vcpu_op(op::DOWN, 1, 0), 0, "down by another vCPU");
    check_eq!(vcpu_op(op::IS_UP, 1, 0), 0, "it is down");
    let end = time::now() + 20_000_000;
    while time::now() < end {
        kernel::call::yield_now();
    }
    let before = SPINS.load(SeqCst);
    let end = time::now() + 50_000_000;
    while time::now() < end {
        kernel::call::yield_now();
    }
    check_eq!(SPINS.load(SeqCst), before, "it does not run");
    check_eq!(vcpu_op(op::UP, 1, 0), 0, "up by another vCPU");
    wait_for(&SPINS, before + 1, "it continues");
    STOP.store(1, SeqCst);
    join(1);
}

/// All vCPUs see one clock: passed from one to the next, it never goes back.
fn pass() {
    let me = vcpu() as u64;
    for _ in 0..300 {
        while TURN.load(SeqCst) % VCPUS as u64 != me {
            kernel::call::yield_now();
        }
        let now = time::now();
        let last = CLOCK.swap(now, SeqCst);
        BACKWARDS.fetch_max(last.saturating_sub(now), SeqCst);
        TURN.fetch_add(1, SeqCst);
    }
}

fn clocks() {
    for vcpu in 1..VCPUS {
        run_on(vcpu, pass);
    }
    pass();
    for vcpu in 1..VCPUS {
        join(vcpu);
        let time: VcpuTimeInfo = peek(vcpu_info(vcpu).time());
        check!(time.tsc_to_system_mul != 0 && time.version.is_multiple_of(2), "time of vCPU {vcpu}: {time:x?}");
    }
    // Not at all if the hypervisor guarantees a stable counter; otherwise by no more than a
    // tolerance.
    let stable = peek::<VcpuTimeInfo>(vcpu_info(0).time()).flags & pvclock::TSC_STABLE_BIT != 0;
    let backwards = BACKWARDS.load(SeqCst);
    say!("between vCPUs the clock goes back by at most {backwards} ns");
    check!(backwards <= if stable { 0 } else { 100_000_000 }, "the clock went back {backwards} ns, stable: {stable}");
}
