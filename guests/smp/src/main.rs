//! Several vCPUs; see README.md.
#![no_std]
#![no_main]

mod bring_up;
mod failsafe;
mod flush;
mod notify;

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::abi::vcpu::op;
use kernel::call::number;
use kernel::start::vcpu;
use kernel::{call, check, check_eq, smp, time};

kernel::guest!(main);

/// Number of vCPUs of the guest.
const VCPUS: usize = 4;

fn main() {
    bring_up::all();
    notify::all();
    flush::all();
    failsafe::all();
}

/// Waits until `counter` is at least `due`; a check fails after ten seconds.
fn wait_for(counter: &AtomicU64, due: u64, what: &str) -> bool {
    let end = time::now() + 10_000_000_000;
    while counter.load(SeqCst) < due {
        if time::now() > end {
            return check!(false, "{what}: timed out, at {} of {due}", counter.load(SeqCst));
        }
        kernel::call::yield_now();
    }
    true
}

/// Number of jobs that a vCPU has started.
static ROUNDS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static JOBS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];

/// Code of each vCPU except the first: runs its job, then goes down, repeatedly.
fn worker() {
    let me = vcpu();
    loop {
        ROUNDS[me].fetch_add(1, SeqCst);
        let job = JOBS[me].load(SeqCst) as usize;
        if job != 0 {
            // SAFETY: only `run_on` stores this value, which is of this type.
            let job: fn() = unsafe { core::mem::transmute(job) };
            job();
        }
        smp::down();
    }
}

/// Runs `job` on a vCPU that is down, or about to be.
fn run_on(vcpu: usize, job: fn()) {
    join(vcpu);
    JOBS[vcpu].store(job as usize as u64, SeqCst);
    check_eq!(vcpu_op(op::UP, vcpu, 0), 0, "vCPU {vcpu} up");
}

/// Waits until a vCPU has finished its job and is down.
fn join(vcpu: usize) {
    let end = time::now() + 10_000_000_000;
    while vcpu_op(op::IS_UP, vcpu, 0) != 0 {
        if time::now() > end {
            kernel::harness::error(format_args!("vCPU {vcpu} does not finish its job"));
        }
        kernel::call::yield_now();
    }
}

fn vcpu_op(op: u32, vcpu: usize, argument: u64) -> i64 {
    call!(number::VCPU_OP, op, vcpu, argument)
}
