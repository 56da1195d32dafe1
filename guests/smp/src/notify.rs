//! Events, NMIs and timers between vCPUs, and `vcpu_info` at another address.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::abi::event_channel::{AllocUnbound, BindInterdomain, BindIpi, BindVcpu, BindVirq, op as event};
use kernel::abi::nmi;
use kernel::abi::vcpu::{RegisterVcpuInfo, SetSingleshotTimer, op};
use kernel::abi::xen::{DomainId, SharedInfo, virq};
use kernel::call::{error, number};
use kernel::memory::{self, mfn_of, page, peek, poke, shared_info, vcpu_info, zeroed};
use kernel::start::vcpu;
use kernel::{call, check, check_eq, time, trap};

use crate::{VCPUS, join, run_on, vcpu_op, wait_for};

static UPCALLS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static NMIS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static PORTS: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];
static STOP: AtomicU64 = AtomicU64::new(0);
static READY: [AtomicU64; VCPUS] = [const { AtomicU64::new(0) }; VCPUS];

fn event_op<T>(op: u32, argument: &mut T) -> i64 {
    call!(number::EVENT_CHANNEL_OP, op, argument)
}

fn word(area: u64, port: u32) -> u64 {
    shared_info() + area + u64::from(port / 64) * 8
}

fn unmask(port: u32) {
    check_eq!(event_op(event::UNMASK, &mut { port }), 0, "unmask {port}");
}

fn pending(port: u32) -> bool {
    peek::<u64>(word(offset_of!(SharedInfo, event_pending) as u64, port)) >> (port % 64) & 1 == 1
}

/// Clears a port's pending bit. Nothing else changes the word at the same time.
fn clear(port: u32) {
    // SAFETY: the word is in the shared info page, which stays mapped.
    let bits = unsafe { &*(word(offset_of!(SharedInfo, event_pending) as u64, port) as *const AtomicU64) };
    bits.fetch_and(!(1 << (port % 64)), SeqCst);
}

fn rest(vcpu: usize) {
    vcpu_info(vcpu).set_selector(0);
    vcpu_info(vcpu).set_pending(0);
}

fn upcall(_: &mut trap::Frame) -> bool {
    let me = vcpu();
    vcpu_info(me).set_pending(0);
    vcpu_info(me).set_selector(0);
    UPCALLS[me].fetch_add(1, SeqCst);
    true
}

pub(crate) fn all() {
    trap::set_hook(true, Some(upcall));
    ipis();
    moved();
    nmis();
    timers();
    placed();
    trap::set_hook(true, None);
}

/// A vCPU that takes events until it is stopped, blocked in between.
fn listen() {
    let me = vcpu();
    rest(me);
    vcpu_info(me).set_mask(0);
    READY[me].fetch_add(1, SeqCst);
    while STOP.load(SeqCst) == 0 {
        let _ = call!(number::SCHED_OP, kernel::abi::sched::op::BLOCK, 0u32);
    }
    vcpu_info(me).set_mask(1);
}

/// The same without blocking: events reach a running vCPU.
fn spin() {
    let me = vcpu();
    rest(me);
    vcpu_info(me).set_mask(0);
    READY[me].fetch_add(1, SeqCst);
    while STOP.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    vcpu_info(me).set_mask(1);
}

fn ipis() {
    let ports: [u32; VCPUS] = core::array::from_fn(|vcpu| {
        let mut ipi = BindIpi { vcpu: vcpu as u32, port: 0 };
        check_eq!(event_op(event::BIND_IPI, &mut ipi), 0, "bind_ipi for vCPU {vcpu}");
        unmask(ipi.port);
        ipi.port
    });
    for (job, what) in [(listen as fn(), "blocked"), (spin as fn(), "running")] {
        STOP.store(0, SeqCst);
        let ready: [u64; VCPUS] = core::array::from_fn(|vcpu| READY[vcpu].load(SeqCst) + 1);
        for vcpu in 1..VCPUS {
            run_on(vcpu, job);
        }
        for vcpu in 1..VCPUS {
            wait_for(&READY[vcpu], ready[vcpu], "a vCPU that listens");
        }
        for round in 0..50 {
            for vcpu in 1..VCPUS {
                let before = UPCALLS[vcpu].load(SeqCst);
                clear(ports[vcpu]);
                check_eq!(event_op(event::SEND, &mut { ports[vcpu] }), 0, "IPI {round} to vCPU {vcpu}");
                wait_for(&UPCALLS[vcpu], before + 1, what);
                check!(pending(ports[vcpu]), "IPI {round} is pending on vCPU {vcpu}");
            }
        }
        check_eq!(UPCALLS[0].load(SeqCst), 0, "no upcall here");
        STOP.store(1, SeqCst);
        for vcpu in 1..VCPUS {
            clear(ports[vcpu]);
            check_eq!(event_op(event::SEND, &mut { ports[vcpu] }), 0, "a last IPI to vCPU {vcpu}");
            join(vcpu);
        }
    }
    for port in ports {
        check_eq!(event_op(event::CLOSE, &mut { port }), 0, "close {port}");
    }
}

/// An interdomain event notifies the vCPU to which it is bound.
fn moved() {
    let mut unbound = AllocUnbound { domain: DomainId::SELF, remote_domain: DomainId::SELF, port: 0 };
    check_eq!(event_op(event::ALLOC_UNBOUND, &mut unbound), 0, "alloc_unbound");
    let mut bind = BindInterdomain { remote_domain: DomainId::SELF, remote_port: unbound.port, ..zeroed() };
    check_eq!(event_op(event::BIND_INTERDOMAIN, &mut bind), 0, "bind_interdomain");
    let (from, to) = (bind.local_port, unbound.port);
    unmask(to);
    for vcpu in 0..VCPUS {
        check_eq!(event_op(event::BIND_VCPU, &mut BindVcpu { port: to, vcpu: vcpu as u32 }), 0, "bind to vCPU {vcpu}");
        for other in 0..VCPUS {
            rest(other);
        }
        clear(to);
        check_eq!(event_op(event::SEND, &mut { from }), 0, "send");
        for other in 0..VCPUS {
            let due = u8::from(other == vcpu);
            check_eq!(vcpu_info(other).pending(), due, "bound to vCPU {vcpu}: flag of vCPU {other}");
            check_eq!(
                vcpu_info(other).selector() != 0,
                other == vcpu,
                "bound to vCPU {vcpu}: selector of vCPU {other}"
            );
            rest(other);
        }
    }
    clear(to);
    clear(from);
    for port in [from, to] {
        check_eq!(event_op(event::CLOSE, &mut { port }), 0, "close {port}");
    }
}

/// NMIs reach other vCPUs; each registers its own callback.
fn nmis() {
    trap::set_hook(
        false,
        Some(|frame| {
            if frame.vector == trap::NMI {
                NMIS[vcpu()].fetch_add(1, SeqCst);
            }
            frame.vector == trap::NMI
        }),
    );
    STOP.store(0, SeqCst);
    let before = READY[1].load(SeqCst);
    let job = || {
        let register = nmi::RegisterCallback { handler_address: trap::entry(trap::NMI), _pad: 0 };
        let result = call!(
            number::CALLBACK_OP,
            0u32,
            &kernel::abi::callback::Register { kind: 4, flags: 0, _pad: 0, address: register.handler_address }
        );
        check_eq!(result, 0, "NMI callback of vCPU 1");
        spin();
    };
    run_on(1, job);
    wait_for(&READY[1], before + 1, "vCPU 1");
    check_eq!(vcpu_op(op::SEND_NMI, 1, 0), 0, "NMI to vCPU 1");
    wait_for(&NMIS[1], 1, "an NMI on vCPU 1");
    STOP.store(1, SeqCst);
    join(1);
    trap::set_hook(false, None);
}

/// Each vCPU has its own timer, which only it can set.
fn timers() {
    let argument = SetSingleshotTimer { timeout_absolute_ns: 1 << 60, flags: 0, _pad: 0 };
    for what in [op::SET_SINGLESHOT_TIMER, op::STOP_SINGLESHOT_TIMER] {
        check_eq!(
            vcpu_op(what, 1, &raw const argument as u64),
            error::EINVAL,
            "single-shot timer of another vCPU, {what}"
        );
    }
    let ports: [u32; VCPUS] = core::array::from_fn(|vcpu| {
        let mut bind = BindVirq { virq: virq::TIMER, vcpu: vcpu as u32, port: 0 };
        check_eq!(event_op(event::BIND_VIRQ, &mut bind), 0, "timer of vCPU {vcpu}");
        clear(bind.port);
        unmask(bind.port);
        PORTS[vcpu].store(u64::from(bind.port), SeqCst);
        bind.port
    });
    for vcpu in 1..VCPUS {
        let before = UPCALLS[vcpu].load(SeqCst);
        run_on(vcpu, || {
            let me = vcpu_info(kernel::start::vcpu());
            let _ = call!(number::VCPU_OP, op::STOP_PERIODIC_TIMER, kernel::start::vcpu(), 0u32);
            // An earlier tick would leave the port pending, and then no notification follows.
            clear(PORTS[kernel::start::vcpu()].load(SeqCst) as u32);
            rest(kernel::start::vcpu());
            let at = time::now() + 20_000_000;
            check_eq!(call!(number::SET_TIMER_OP, at), 0, "set_timer_op");
            let _ = call!(number::SCHED_OP, kernel::abi::sched::op::BLOCK, 0u32);
            me.set_mask(1);
            check!(time::now() >= at, "the timer is not early");
        });
        join(vcpu);
        check!(UPCALLS[vcpu].load(SeqCst) > before, "the timer of vCPU {vcpu}");
        check!(pending(ports[vcpu]), "the timer's port of vCPU {vcpu}");
    }
    for port in ports {
        check_eq!(event_op(event::CLOSE, &mut { port }), 0, "close {port}");
    }
    for vcpu in 0..VCPUS {
        rest(vcpu);
    }
}

/// `register_vcpu_info`: the contents are moved, and the new address is used from then on.
fn placed() {
    let place = page();
    for vcpu in 0..VCPUS {
        let offset = 64 * (vcpu as u32 + 3);
        let register = RegisterVcpuInfo { mfn: mfn_of(place), offset, reserved: 0 };
        let old = vcpu_info(vcpu);
        let mask = old.mask();
        check_eq!(vcpu_op(op::REGISTER_VCPU_INFO, vcpu, &raw const register as u64), 0, "vcpu_info of vCPU {vcpu}");
        memory::set_vcpu_info(vcpu, place + u64::from(offset));
        let new = vcpu_info(vcpu);
        check_eq!(new.mask(), mask, "the mask has moved");
        // No event is lost: all are reported as pending.
        check_eq!((new.pending(), new.selector()), (1, u64::MAX), "pending at the new address");
        check!(peek::<u32>(new.time() + 24) != 0, "the time has moved");
        let again = vcpu_op(op::REGISTER_VCPU_INFO, vcpu, &raw const register as u64);
        check_eq!(again, error::EINVAL, "vcpu_info of vCPU {vcpu} again");
        rest(vcpu);
        poke(old.0, 0u64);
    }
    // Events and clocks use it.
    let mut ipi = BindIpi { vcpu: 1, port: 0 };
    check_eq!(event_op(event::BIND_IPI, &mut ipi), 0, "bind_ipi");
    unmask(ipi.port);
    STOP.store(0, SeqCst);
    let (ready, before) = (READY[1].load(SeqCst), UPCALLS[1].load(SeqCst));
    run_on(1, listen);
    wait_for(&READY[1], ready + 1, "vCPU 1");
    STOP.store(1, SeqCst);
    check_eq!(event_op(event::SEND, &mut { ipi.port }), 0, "IPI");
    wait_for(&UPCALLS[1], before + 1, "an upcall by the new vcpu_info");
    join(1);
    let (first, start) = (time::now(), time::tsc());
    check!(time::now() >= first && time::tsc() > start, "the clock at the new address");
    // The page is referenced: it cannot become a table.
    kernel::tables::protect(place);
    let result = kernel::tables::extended(kernel::tables::mmuext::PIN_L1_TABLE, mfn_of(place), 0);
    check_eq!(result, error::EINVAL, "the vcpu_info's page as a table");
    kernel::tables::unprotect(place);
}
