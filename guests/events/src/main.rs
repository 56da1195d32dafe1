//! Event channels of both ABIs; see README.md.
#![no_std]
#![no_main]

mod fifo;
mod storm;
mod two_level;
mod waiting;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel::abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, op};
use kernel::abi::xen::DomainId;
use kernel::call::number;
use kernel::memory::{vcpu_info, zeroed};
use kernel::{call, check_eq, trap};

kernel::guest!(main);

fn main() {
    trap::set_hook(true, Some(upcall));
    two_level::all();
    waiting::all();
    storm::all();
    fifo::all();
}

static UPCALLS: AtomicU64 = AtomicU64::new(0);

/// The event callback: counts upcalls, and clears the vCPU's flag, as a kernel does first.
fn upcall(_: &mut trap::Frame) -> bool {
    let count = UPCALLS.fetch_add(1, Relaxed);
    vcpu_info(0).set_pending(0);
    storm::raise_again(count);
    true
}

/// Returns and clears the number of upcalls.
fn upcalls() -> u64 {
    UPCALLS.swap(0, Relaxed)
}

/// A hypercall without effect: a pending upcall is delivered on its return.
fn nudge() {
    let _ = call!(number::XEN_VERSION, 0u32, 0u32);
}

fn event_op<T>(op: u32, argument: &mut T) -> i64 {
    call!(number::EVENT_CHANNEL_OP, op, argument)
}

fn send(port: u32) {
    check_eq!(event_op(op::SEND, &mut { port }), 0, "send on {port}");
}

fn unmask(port: u32) {
    check_eq!(event_op(op::UNMASK, &mut { port }), 0, "unmask {port}");
}

fn close(port: u32) {
    check_eq!(event_op(op::CLOSE, &mut { port }), 0, "close {port}");
}

fn new_ipi() -> Result<u32, i64> {
    let mut ipi = BindIpi { vcpu: 0, port: 0 };
    match event_op(op::BIND_IPI, &mut ipi) {
        0 => Ok(ipi.port),
        error => Err(error),
    }
}

fn ipi() -> u32 {
    new_ipi().expect("an IPI")
}

/// Two connected ports of this domain.
fn pair() -> (u32, u32) {
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(op::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    let mut bind = BindInterdomain { remote_domain: DomainId::SELF, remote_port: unbound.port, ..zeroed() };
    check_eq!(event_op(op::BIND_INTERDOMAIN, &mut bind), 0, "bind_interdomain");
    (unbound.port, bind.local_port)
}
