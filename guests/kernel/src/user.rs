//! User mode: runs a few instructions in a user address space and returns the trap that ended them.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::memory::{machine_of, mfn_of, page, poke};
use crate::start::{MAX_VCPUS, vcpu};
use crate::tables;
use crate::trap::{CS64, Frame, SS, Trap};

/// Kernel stack pointer of a vCPU inside [`run`]; otherwise 0.
static SAVED: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// First address of a [`Space`], which has the size mapped by one last-level table.
pub const BASE: u64 = 0x40_0000;

/// A user address space of one table per level, for the 2 MiB at [`BASE`].
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Address of the root table.
    pub root: u64,
    /// Address of the last-level table.
    pub leaf: u64,
}

impl Space {
    /// Builds the tables with the pages `entries` from [`BASE`] on, pins the root and sets it as
    /// the user root of this vCPU.
    #[must_use]
    pub fn new(entries: &[u64]) -> Self {
        let tables: [u64; 4] = core::array::from_fn(|_| page());
        for (at, &entry) in entries.iter().enumerate() {
            poke(tables[3] + at as u64 * 8, entry);
        }
        for level in 0..3 {
            let index = (BASE >> (39 - 9 * level)) & 511;
            poke(tables[level] + index * 8, tables::entry_for(tables[level + 1], tables::TABLE));
        }
        for table in tables {
            tables::protect(table);
        }
        let root = mfn_of(tables[0]);
        assert_eq!(tables::extended(tables::mmuext::PIN_L4_TABLE, root, 0), 0, "pinning the user root");
        assert_eq!(tables::extended(tables::mmuext::NEW_USER_BASEPTR, root, 0), 0, "setting the user root");
        Self { root: tables[0], leaf: tables[3] }
    }

    /// Machine address of the entry for `address`.
    #[must_use]
    pub fn entry(&self, address: u64) -> u64 {
        machine_of(self.leaf) + (address >> 12 & 511) * 8
    }
}

/// A frame that starts 64-bit user code at `rip` with the stack pointer `rsp`, events unmasked.
#[must_use]
pub fn frame(rip: u64, rsp: u64) -> Frame {
    Frame { rip, rsp, cs: CS64, ss: SS, rflags: 0x202, ..Frame::default() }
}

/// Runs user code from `frame` until it traps. The vCPU needs a user page-table root, and its stack
/// for traps must be inside its [`crate::start::trap_stack_top`].
pub fn run(frame: &Frame) -> Trap {
    let before = crate::trap::count();
    // SAFETY: by convention (crate documentation); `enter` keeps the calling convention.
    unsafe { enter(SAVED[vcpu()].as_ptr(), frame) };
    crate::trap::taken(before).expect("user mode ends with a trap")
}

/// Saves the callee-saved registers and the stack pointer in `slot`, then returns to `frame`.
///
/// # Safety
/// `frame` must describe user code. The trap that ends it must go through [`leave`].
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
        // The frame is copied to the stack for `trap_leave`.
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
    // SAFETY: `saved` is the stack of `enter` on this vCPU, which expects this return.
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
