//! A process with one page of code.

use core::arch::global_asm;

use kernel::call::stack_switch;
use kernel::memory::page;
use kernel::start::{trap_stack_top, vcpu};
use kernel::tables::{self, NX, READABLE, WRITABLE};
use kernel::trap::{Frame, Trap};
use kernel::user::{self, BASE, Space};

global_asm!(
    ".pushsection .text",
    ".balign 4096",
    ".globl process_code",
    "process_code:",
    "rdtsc",
    "int3",
    ".org process_code + 0x10, 0xcc",
    "rdtscp",
    "int3",
    ".org process_code + 0x20, 0xcc",
    "rdgsbase rax",
    "int3",
    ".org process_code + 0x30, 0xcc",
    "wrgsbase rdi",
    "int3",
    ".org process_code + 0x40, 0xcc",
    "rdfsbase rax",
    "int3",
    ".org process_code + 0x50, 0xcc",
    "wrfsbase rdi",
    "int3",
    ".org process_code + 0x60, 0xcc",
    "in al, dx",
    "int3",
    ".balign 4096, 0xcc",
    ".popsection",
);

unsafe extern "C" {
    static process_code: u8;
}

/// Offsets of its instructions.
pub(crate) const RDTSC: u64 = 0;
pub(crate) const RDTSCP: u64 = 0x10;
pub(crate) const RDGSBASE: u64 = 0x20;
pub(crate) const WRGSBASE: u64 = 0x30;
pub(crate) const RDFSBASE: u64 = 0x40;
pub(crate) const WRFSBASE: u64 = 0x50;
pub(crate) const IN: u64 = 0x60;

/// The calling vCPU's process.
pub(crate) struct Process;

impl Process {
    pub(crate) fn new() -> Self {
        let code = &raw const process_code as u64;
        let _ = Space::new(&[tables::entry_for(code, READABLE), tables::entry_for(page(), WRITABLE | NX)]);
        stack_switch(trap_stack_top(vcpu()));
        Self
    }

    /// Runs the instruction at `offset`.
    #[expect(clippy::unused_self, reason = "the value proves that the address space exists")]
    pub(crate) fn run(&self, offset: u64, change: impl FnOnce(&mut Frame)) -> Trap {
        let mut frame = user::frame(BASE + offset, BASE + 0x1f00);
        change(&mut frame);
        user::run(&frame)
    }

    /// The vector that ends the instruction at `offset`: a breakpoint if it was executed.
    pub(crate) fn vector(&self, offset: u64) -> u64 {
        let trap = self.run(offset, |frame| frame.rdi = 0);
        if trap.frame.vector != 3 {
            kernel::check_eq!(trap.frame.rip, BASE + offset, "the trap is at the instruction");
        }
        trap.frame.vector
    }
}
