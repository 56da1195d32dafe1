//! Starting further vCPUs with a function.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use abi::arch_x86_64::{VcpuGuestContext, vgcf};
use abi::vcpu::op;

use crate::call::number;
use crate::memory::{mfn_of, pages, poke, zeroed};
use crate::start::{MAX_VCPUS, stack_top, trap_stack_top, vcpu};
use crate::tables;
use crate::trap::{self, CS64, EVENT, FAILSAFE, SS, SYSCALL};

static ENTRIES: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// A context in which `vcpu` runs `main` on its stack, with the shared kernel's traps and events
/// masked.
#[must_use]
pub fn context(vcpu: usize, main: fn()) -> VcpuGuestContext {
    ENTRIES[vcpu].store(main as usize as u64, SeqCst);
    let mut context: VcpuGuestContext = zeroed();
    context.flags = vgcf::IN_KERNEL | vgcf::SYSCALL_DISABLES_EVENTS;
    context.user_regs.rip = first as *const () as u64;
    // As after a call: the stack pointer is 8 below a multiple of 16.
    context.user_regs.rsp = stack_top(vcpu) - 8;
    context.user_regs.cs = CS64 as u16;
    context.user_regs.ss = SS as u16;
    context.user_regs.rflags = 0x1000;
    context.kernel_ss = SS;
    context.kernel_sp = trap_stack_top(vcpu);
    context.control_registers[3] = mfn_of(tables::root()) << 12;
    context.event_callback_rip = trap::entry(EVENT);
    context.failsafe_callback_rip = trap::entry(FAILSAFE);
    context.syscall_callback_rip = trap::entry(SYSCALL);
    for (vector, entry) in context.traps.iter_mut().enumerate() {
        *entry = trap::shared(vector as u8, if matches!(vector, 3 | 4 | 0x80) { 7 } else { 4 });
    }
    context
}

/// `VCPUOP_initialise` and, if it succeeds, `VCPUOP_up`. Returns the first nonzero result.
pub fn start(vcpu: usize, main: fn()) -> i64 {
    let place = pages(2);
    poke(place, context(vcpu, main));
    match crate::call!(number::VCPU_OP, op::INITIALISE, vcpu, place) {
        0 => crate::call!(number::VCPU_OP, op::UP, vcpu, 0u32),
        error => error,
    }
}

/// Takes the calling vCPU down. Returns when another vCPU brings it up again.
pub fn down() {
    let _ = crate::call!(number::VCPU_OP, op::DOWN, vcpu(), 0u32);
}

extern "C" fn first() -> ! {
    crate::memory::vcpu_info(vcpu()).set_mask(1);
    let main = ENTRIES[vcpu()].load(SeqCst) as usize;
    // SAFETY: only `context` stores this value, which is of this type.
    let main: fn() = unsafe { core::mem::transmute(main) };
    main();
    loop {
        down();
    }
}
