//! Callbacks: events, failsafe, 32-bit system calls, sysenter, NMI.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel::abi::callback::kind;
use kernel::abi::event_channel::{BindVirq, op as event};
use kernel::abi::nmi;
use kernel::abi::vcpu;
use kernel::abi::xen::virq;
use kernel::call::number;
use kernel::memory::vcpu_info;
use kernel::trap::{self, CS32, CS64, EVENT, NMI, SS, SYSCALL32, SYSENTER};
use kernel::{call, check, check_eq, say, time};

use crate::from_user::User;
use crate::user_code::{CODE, STACK};

static FRAMES: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

pub(crate) fn all() {
    let user = User::new();
    events(&user);
    bad_return(&user);
    compat_calls(&user);
    nmi();
}

fn events(user: &User) {
    let info = vcpu_info(0);
    info.set_pending(1);
    // User mode is entered with events unmasked: the event is delivered before its first
    // instruction.
    let trap = user.run(0x128, |_| ());
    user.due("event", &trap, EVENT, 0, 0x128);
    info.set_pending(0);
    loops(user);
    // A return to the kernel with IF set unmasks, and the pending event is delivered then.
    trap::set_hook(
        true,
        Some(|frame| {
            let info = vcpu_info(0);
            FRAMES[0].fetch_add(1, Relaxed);
            FRAMES[1].store(frame.cs, Relaxed);
            FRAMES[2].store(u64::from(info.mask()), Relaxed);
            FRAMES[3].store(frame.rflags, Relaxed);
            info.set_pending(0);
            true
        }),
    );
    info.set_pending(1);
    let trap = kernel::attempt!("ud2");
    check!(trap.is_some(), "a trap under the mask");
    check_eq!(FRAMES[0].load(Relaxed), 0, "no event under the mask");
    trap::set_hook(
        false,
        Some(|frame| {
            frame.rflags |= 0x200;
            frame.rip += 2;
            true
        }),
    );
    // SAFETY: the hook skips the instruction.
    unsafe { core::arch::asm!("ud2") };
    trap::set_hook(false, None);
    let mask = info.mask();
    info.set_mask(1);
    trap::set_hook(true, None);
    check_eq!(FRAMES[0].load(Relaxed), 1, "one event after unmasking");
    check_eq!(FRAMES[1].load(Relaxed), 0xe030, "event: CS");
    check_eq!(FRAMES[2].load(Relaxed), 1, "event: mask in the handler");
    check_eq!(FRAMES[3].load(Relaxed) & 0x200, 0x200, "event: IF in the frame");
    check_eq!(mask, 0, "the mask after the event");
}

/// A timer event interrupts an endless loop in user mode, 64-bit or 32-bit, with any flags.
fn loops(user: &User) {
    let mut bind = BindVirq { virq: virq::TIMER, vcpu: 0, port: 0 };
    check_eq!(call!(number::EVENT_CHANNEL_OP, event::BIND_VIRQ, &mut bind), 0, "bind the timer");
    check_eq!(call!(number::VCPU_OP, vcpu::op::STOP_PERIODIC_TIMER, 0u32, 0u64), 0, "no periodic timer");
    for round in 0..40u64 {
        for cs in [CS64, CS32] {
            check_eq!(call!(number::SET_TIMER_OP, 0u64), 0, "no timer");
            // The word has no other ports in use than those of the console and the store.
            kernel::memory::poke(kernel::memory::shared_info() + 2048, 0u64);
            vcpu_info(0).set_selector(0);
            vcpu_info(0).set_pending(0);
            check_eq!(call!(number::EVENT_CHANNEL_OP, event::UNMASK, &{ bind.port }), 0, "unmask");
            check_eq!(call!(number::SET_TIMER_OP, time::now() + round * 50_000), 0, "set_timer_op");
            let trap = user.run(0x128, |frame| {
                frame.cs = cs;
                frame.rflags |= if round % 2 == 0 { 0x400 } else { 0x4_0000 };
            });
            check_eq!(
                (trap.frame.vector, trap.frame.rip, trap.frame.cs),
                (EVENT, CODE + 0x128, cs),
                "a timer in a loop"
            );
            check_eq!(trap.mask, 1, "mask in the handler");
        }
    }
    vcpu_info(0).set_pending(0);
    check_eq!(call!(number::EVENT_CHANNEL_OP, event::CLOSE, &{ bind.port }), 0, "close");
}

/// A return that the hardware refuses is a trap at its target. (The failsafe callback is for data
/// segments; the guest `smp` provokes it.)
fn bad_return(user: &User) {
    for (cs, ss, what) in [(0x4b, SS, "CS"), (CS64, 0x4b, "SS")] {
        let trap = user.run(0x60, |frame| {
            frame.cs = cs;
            frame.ss = ss;
        });
        check_eq!((trap.frame.vector, trap.frame.error), (13, 0x48), "return with a bad {what}");
        check_eq!((trap.frame.rip, trap.frame.rsp), (CODE + 0x60, STACK - 0x20), "return with a bad {what}: RIP, RSP");
        check_eq!((trap.frame.cs & 0xffff, trap.frame.ss), (cs, ss), "return with a bad {what}: CS, SS");
        check_eq!(trap.mask, 1, "return with a bad {what}: mask in the handler");
    }
    for rip in [0x0000_8000_0000_0000u64, 0xffff_8300_0000_0000] {
        let trap = user.run(0x60, |frame| frame.rip = rip);
        let due = if rip < 0xffff_8000_0000_0000 { 13 } else { 14 };
        check_eq!((trap.frame.vector, trap.frame.rip), (due, rip), "return to {rip:#x}");
    }
    // The path to user mode still works.
    user.due("#BP after bad returns", &user.run(0x60, |_| ()), 3, 0, 0x61);
}

fn compat_calls(user: &User) {
    check_eq!(trap::register_callback(kind::SYSCALL32, 1, trap::entry(SYSCALL32)), 0, "syscall32 callback");
    let trap = user.run(0x230, |frame| {
        frame.cs = CS32;
        frame.rax = 20;
        frame.rbp = 0x99;
    });
    match trap.frame.vector {
        // Intel's CPUs do not support the instruction in 32-bit code.
        6 => say!("no syscall in 32-bit code"),
        _ => {
            let frame = trap.frame;
            check_eq!(frame.vector, SYSCALL32, "32-bit syscall: vector");
            check_eq!((frame.cs, frame.ss), (CS32, SS), "32-bit syscall: CS, SS");
            check_eq!((frame.rip, frame.rsp), (CODE + 0x232, STACK - 0x20), "32-bit syscall: RIP, RSP");
            check_eq!((frame.rax, frame.rbp), (20, 0x99), "32-bit syscall: registers");
            check_eq!(trap.mask, 1, "32-bit syscall: mask in the handler");
        }
    }
    // Without a callback, sysenter is #GP at the instruction's address, which the hardware does not
    // save.
    let trap = user.run(0x240, |frame| frame.cs = CS32);
    if trap.frame.vector != 6 {
        check_eq!((trap.frame.vector, trap.frame.error), (13, 0), "sysenter without callback");
        check_eq!((trap.frame.rip, trap.frame.cs), (0, 3), "sysenter without callback: RIP, CS");
    }
    check_eq!(trap::register_callback(kind::SYSENTER, 1, trap::entry(SYSENTER)), 0, "sysenter callback");
    for (cs, offset) in [(CS32, 0x240), (CS64, 0x130)] {
        let trap = user.run(offset, |frame| {
            frame.cs = cs;
            frame.rax = 21;
            frame.rbp = 0x98;
        });
        if trap.frame.vector == 6 {
            // AMD's CPUs do not support the instruction in long mode.
            say!("no sysenter");
            continue;
        }
        let frame = trap.frame;
        check_eq!(frame.vector, SYSENTER, "sysenter: vector");
        check_eq!((frame.rip, frame.rsp), (0, 0), "sysenter: RIP and RSP are lost");
        check_eq!((frame.cs, frame.ss), (3, SS), "sysenter: CS, SS");
        check_eq!((frame.rax, frame.rbp), (21, 0x98), "sysenter: registers");
        check_eq!(frame.rflags & 0x3200, 0x200, "sysenter: IF and IOPL");
        check_eq!(trap.mask, 1, "sysenter: mask in the handler");
        check_eq!(trap.top, user.stack & !15, "sysenter: the frame is on the kernel's stack");
    }
}

fn nmi() {
    let register = nmi::RegisterCallback { handler_address: trap::entry(NMI), _pad: 0 };
    check_eq!(call!(number::NMI_OP, nmi::op::REGISTER_CALLBACK, &register), 0, "NMI callback");
    FRAMES[0].store(0, Relaxed);
    trap::set_hook(
        false,
        Some(|frame| {
            if frame.vector == NMI {
                FRAMES[0].fetch_add(1, Relaxed);
                FRAMES[1].store(frame.cs, Relaxed);
                FRAMES[2].store(u64::from(vcpu_info(0).mask()), Relaxed);
            }
            frame.vector == NMI
        }),
    );
    vcpu_info(0).set_mask(0);
    check_eq!(call!(number::VCPU_OP, vcpu::op::SEND_NMI, 0u32, 0u64), 0, "send_nmi to oneself");
    let mask = vcpu_info(0).mask();
    vcpu_info(0).set_mask(1);
    check_eq!(FRAMES[0].load(Relaxed), 1, "one NMI");
    check_eq!(FRAMES[1].load(Relaxed), 0xe030, "NMI: CS");
    check_eq!(FRAMES[2].load(Relaxed), 1, "NMI: mask in the handler");
    check_eq!(mask, 0, "the mask after the NMI");
    // NMIs ignore the event mask.
    check_eq!(call!(number::VCPU_OP, vcpu::op::SEND_NMI, 0u32, 0u64), 0, "send_nmi under the mask");
    check_eq!(FRAMES[0].load(Relaxed), 2, "the NMI comes under the mask");
    trap::set_hook(false, None);
}
