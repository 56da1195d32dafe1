//! Every hypercall that an unprivileged guest may use; see README.md.
#![no_std]
#![no_main]

mod cpu;
mod events;
mod memory_op;
mod others;
mod paging;
mod vcpu;

use kernel::call::error;
use kernel::check_eq;

kernel::guest!(main);

fn main() {
    others::unknown_numbers();
    others::registers();
    others::xen_version();
    others::multicall();
    others::console_io();
    others::privileged();
    cpu::all();
    paging::all();
    memory_op::all();
    events::all();
    vcpu::all();
}

/// Addresses that every hypercall must refuse: not mapped, the hypervisor's own, not canonical, the
/// last page.
const BAD: [u64; 4] = [0x10_0000, 0xffff_8300_0000_0000, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_f000];

/// Checks that the call returns `EFAULT` for each bad address.
fn faults(what: &str, call: impl Fn(u64) -> i64) {
    for bad in BAD {
        check_eq!(call(bad), error::EFAULT, "{what} with a pointer to {bad:#x}");
    }
}
