//! User mode: run a few instructions in a user address space and come back with the trap that ended them.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::start::{MAX_VCPUS, vcpu};
use crate::trap::{Frame, Trap};

/// Kernel stack pointer of a vCPU that is inside [`run`]; 0: it is not.
static SAVED: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// Lets user code run from `frame` until it traps. The vCPU needs a user page-table root and a kernel stack
/// ([`crate::call::stack_switch`]) other than the one it runs on.
pub fn run(frame: &Frame) -> Trap {
    let before = crate::trap::count();
    // SAFETY: by decree (crate documentation); `enter` keeps the calling convention.
    unsafe { enter(SAVED[vcpu()].as_ptr(), frame) };
    crate::trap::taken(before).expect("user mode ends with a trap")
}

/// Saves the callee's registers and the stack pointer in `slot`, then leaves for `frame`.
///
/// # Safety
/// `frame` describes user code; the trap that ends it goes through [`leave`].
#[unsafe(naked)]
unsafe extern "C" fn enter(slot: *mut u64, frame: *const Frame) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        // The frame goes onto the stack, where `trap_leave` wants it.
        "sub rsp, {size}",
        "mov rdi, rsp",
        "mov ecx, {size} / 8",
        "rep movsq",
        "jmp trap_leave",
        size = const size_of::<Frame>(),
    )
}

/// Ends [`run`] after a trap from user mode.
pub(crate) fn leave(record: &Trap) {
    let saved = SAVED[vcpu()].swap(0, Relaxed);
    if saved == 0 {
        crate::harness::error(format_args!(
            "trap {:#x} from user mode at {:#x}, error code {:#x}, cr2 {:#x}",
            record.frame.vector, record.frame.rip, record.frame.error, record.cr2
        ));
    }
    // SAFETY: `saved` is the stack of `enter` on this vCPU, which waits for exactly this.
    unsafe {
        core::arch::asm!(
            "mov rsp, {saved}",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbp",
            "pop rbx",
            "ret",
            saved = in(reg) saved,
            options(noreturn),
        )
    }
}
