//! Entry: the ELF notes (or the text of older kernels), the first instructions, and the state
//! passed by the hypervisor.
//!
//! `_start` gets the start info's address in RSI, on a stack chosen by the hypervisor. It saves
//! both for the checks and switches to its own stack.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{call, console, harness, memory, trap};

/// Virtual address of pseudo-physical frame 0, as in the `VIRT_BASE` note.
pub const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;
/// Size of each vCPU's stack in bytes; also its alignment.
pub const STACK_SIZE: usize = 0x1_0000;
/// Number of vCPUs for which the shared kernel has stacks.
pub const MAX_VCPUS: usize = 8;

/// The ELF note of type `$type` with the 64-bit value `$value`.
#[macro_export]
macro_rules! note_quad {
    ($type:literal, $value:literal) => {
        core::arch::global_asm!(
            ".pushsection .note.Xen,\"a\",@note",
            ".balign 4",
            concat!(".long 4, 8, ", $type),
            ".asciz \"Xen\"",
            concat!(".quad ", $value),
            ".popsection",
        );
    };
}

/// The ELF note of type `$type` with the text `$value`.
#[macro_export]
macro_rules! note_text {
    ($type:literal, $value:literal) => {
        core::arch::global_asm!(
            ".pushsection .note.Xen,\"a\",@note",
            ".balign 4",
            concat!(".long 4, 7772f - 7771f, ", $type),
            ".asciz \"Xen\"",
            concat!("7771: .asciz \"", $value, "\""),
            "7772: .balign 4",
            ".popsection",
        );
    };
}

/// The notes of every guest that does not test notes: guest OS, its version, the interface's
/// version, virtual base, offset of the file's addresses, hypercall page, features by name and by
/// bit, page-table flavour, loader.
#[macro_export]
macro_rules! usual_notes {
    () => {
        $crate::note_text!(6, "paravane-test");
        $crate::note_text!(7, "1");
        $crate::note_text!(5, "xen-3.0");
        $crate::note_quad!(3, 0xffffffff80000000);
        $crate::note_quad!(4, 0);
        $crate::note_quad!(2, "hypercall_page");
        $crate::note_text!(10, "!writable_page_tables|pae_pgdir_above_4gb");
        $crate::note_quad!(17, 0x8801);
        $crate::note_text!(9, "yes");
        $crate::note_text!(8, "generic");
        // L1_MFN_VALID: an entry contains a machine frame when the present bit is set.
        core::arch::global_asm!(
            ".pushsection .note.Xen,\"a\",@note",
            ".balign 4",
            ".long 4, 16, 13",
            ".asciz \"Xen\"",
            ".quad 1, 1",
            ".popsection",
        );
    };
}

/// The text with which kernels before ELF notes declared the same; the linker script places the
/// hypercall page.
#[macro_export]
macro_rules! legacy_text {
    () => {
        core::arch::global_asm!(
            ".pushsection __xen_guest,\"\",@progbits",
            ".ascii \"GUEST_OS=paravane-test,XEN_VER=xen-3.0,VIRT_BASE=0xffffffff80000000,ELF_PADDR_OFFSET=0x0,\"",
            ".asciz \"HYPERCALL_PAGE=0x101,PAE=yes,FEATURES=!writable_page_tables|pae_pgdir_above_4gb,LOADER=generic\"",
            ".popsection",
        );
    };
}

core::arch::global_asm!(
    ".pushsection .text.start,\"ax\",@progbits",
    ".globl _start, hypercall_page",
    "_start:",
    "cld",
    "mov rdi, rsi",
    "mov rsi, rsp",
    "lea rsp, [rip + {stacks} + {stack_size}]",
    "xor ebp, ebp",
    "call {first}",
    "ud2",
    ".balign 4096",
    "hypercall_page:",
    ".fill 4096, 1, 0xcc",
    ".popsection",
    stacks = sym STACKS,
    stack_size = const STACK_SIZE,
    first = sym first,
);

/// One stack per vCPU. The vCPU's number is derived from the stack pointer.
#[repr(C, align(65536))]
pub struct Stacks(core::cell::UnsafeCell<[[u8; STACK_SIZE]; MAX_VCPUS]>);

// SAFETY: each vCPU uses only its own stack, and only through RSP.
unsafe impl Sync for Stacks {}

static STACKS: Stacks = Stacks(core::cell::UnsafeCell::new([[0; STACK_SIZE]; MAX_VCPUS]));
static START_INFO: AtomicU64 = AtomicU64::new(0);
static ENTRY_STACK: AtomicU64 = AtomicU64::new(0);
static ENTRY_MASK: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn guest_main();
}

/// The address just above the stack of `vcpu`.
#[must_use]
pub fn stack_top(vcpu: usize) -> u64 {
    assert!(vcpu < MAX_VCPUS);
    STACKS.0.get() as u64 + ((vcpu + 1) * STACK_SIZE) as u64
}

/// Top of the part of a vCPU's stack for traps from user mode, while [`crate::user::run`] uses the
/// rest.
#[must_use]
pub fn trap_stack_top(vcpu: usize) -> u64 {
    stack_top(vcpu) - STACK_SIZE as u64 / 2
}

/// The number of the current vCPU, from the stack pointer.
#[must_use]
pub fn vcpu() -> usize {
    let here: u64;
    // SAFETY: only reads RSP.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags)) };
    ((here - STACKS.0.get() as u64) / STACK_SIZE as u64) as usize
}

/// Address of the start info, as passed in RSI.
#[must_use]
pub fn start_info_address() -> u64 {
    START_INFO.load(Relaxed)
}

/// RSP at entry.
#[must_use]
pub fn entry_stack() -> u64 {
    ENTRY_STACK.load(Relaxed)
}

/// Event mask of vCPU 0 at entry.
#[must_use]
pub fn entry_mask() -> u64 {
    ENTRY_MASK.load(Relaxed)
}

extern "C" fn first(start_info: u64, stack: u64) -> ! {
    START_INFO.store(start_info, Relaxed);
    ENTRY_STACK.store(stack, Relaxed);
    memory::map_shared_info();
    ENTRY_MASK.store(u64::from(memory::vcpu_info(0).mask()), Relaxed);
    memory::vcpu_info(0).set_mask(1);
    memory::mask_events();
    console::start();
    trap::start();
    call::stack_switch(trap_stack_top(0));
    // SAFETY: `guest!` defines this function with this signature, once per guest.
    unsafe { guest_main() };
    harness::finish()
}
