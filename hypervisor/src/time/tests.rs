//! Timers and the events that they raise, on the hosted machine's clock.

use core::sync::atomic::Ordering;

use abi::event_channel::{BindVirq, op};
use abi::xen::{SharedInfo, virq};
use machine::hosted::time::advance;
use machine::time::{self, now};

use crate::domain::VcpuId;
use crate::event_channel;
use crate::testing::Guest;
use crate::vcpu_loop;

const MILLISECOND: u64 = 1_000_000;

/// A guest that has bound `VIRQ_TIMER` of its vCPU 0.
fn guest() -> Guest {
    let mut guest = Guest::new(1, 2);
    let bind = guest.put(&BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 });
    assert!(event_channel::op::event_channel_op(&mut guest.caller(), op::BIND_VIRQ, bind).is_ok());
    guest
}

/// Whether the timer has fired since the last call.
fn rung(guest: &Guest) -> bool {
    vcpu_loop::poll();
    let page = guest.domain.shared_info();
    let pending = page.atomic_u64(core::mem::offset_of!(SharedInfo, event_pending)).swap(0, Ordering::SeqCst) != 0;
    let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    vcpu.info().upcall_pending().store(0, Ordering::SeqCst);
    pending
}

#[test]
fn a_single_shot_timer_fires_once() {
    let guest = guest();
    let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    vcpu.time.set_single_shot(vcpu, now() + 500 * MILLISECOND);
    assert!(!rung(&guest));
    // A new deadline replaces the old one.
    vcpu.time.set_single_shot(vcpu, now() + 2000 * MILLISECOND);
    advance(1000 * MILLISECOND);
    assert!(!rung(&guest));
    advance(1000 * MILLISECOND);
    assert!(rung(&guest));
    advance(5000 * MILLISECOND);
    assert!(!rung(&guest));
    vcpu.time.set_single_shot(vcpu, 1);
    assert!(rung(&guest), "a deadline in the past is due at once");
    vcpu.time.set_single_shot(vcpu, now() + 500 * MILLISECOND);
    vcpu.time.stop_single_shot();
    advance(1000 * MILLISECOND);
    assert!(!rung(&guest));
}

#[test]
fn a_periodic_timer_ticks_while_its_vcpu_runs() {
    let guest = guest();
    let vcpu = guest.domain.vcpu(VcpuId::BOOT).expect("a vCPU");
    vcpu.time.set_period(vcpu, 500 * MILLISECOND);
    vcpu.time.start_periodic(vcpu);
    assert!(!rung(&guest));
    for _ in 0..5 {
        advance(500 * MILLISECOND);
        assert!(rung(&guest));
        assert!(!rung(&guest));
    }
    vcpu.time.stop_periodic_ticks();
    advance(3000 * MILLISECOND);
    assert!(!rung(&guest), "not while it does not run");
    vcpu.time.start_periodic(vcpu);
    assert!(rung(&guest), "missed ticks are merged into one");
    assert!(!rung(&guest));
    vcpu.time.cancel_all();
    advance(3000 * MILLISECOND);
    assert!(!rung(&guest));
}

#[test]
fn a_new_domain_has_a_wall_clock_and_time_info() {
    let guest = guest();
    super::init_domain(&guest.domain);
    let page = guest.domain.shared_info();
    let word = |offset| page.atomic_u32(offset).load(Ordering::SeqCst);
    let seconds = u64::from(word(core::mem::offset_of!(SharedInfo, wall_clock_seconds)));
    assert_eq!(seconds, time::wall_clock_at_boot() / 1_000_000_000);
    let version = word(core::mem::offset_of!(SharedInfo, wall_clock_version));
    assert!(version != 0 && version.is_multiple_of(2));
    // vCPU 1's time information: its version, and the scale from the simulated counter to
    // nanoseconds.
    let info = 64 + core::mem::offset_of!(abi::xen::VcpuInfo, time);
    assert!(word(info) != 0 && word(info).is_multiple_of(2));
    let counter = page.atomic_u64(info + 8).load(Ordering::SeqCst);
    let base = page.atomic_u64(info + 16).load(Ordering::SeqCst);
    let guest_now = base + time::scale().nanoseconds(time::tsc() - counter);
    assert!(guest_now.abs_diff(now()) < 50 * MILLISECOND, "{guest_now} and {}", now());
}
