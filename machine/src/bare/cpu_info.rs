#![expect(unsafe_code, reason = "finds this CPU's page by the stack pointer")]
//! The page of each CPU's window that the entry code reaches RIP-relative and Rust code by its stack pointer.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

use super::layout;
use crate::context::GuestContext;

/// The task-state segment (Intel SDM volume 3, 8.7).
#[repr(C, packed(4))]
pub(crate) struct TaskState {
    pub(crate) _reserved0: u32,
    /// Stack for entries from ring 3: the end of the registers in the active `GuestContext`.
    pub(crate) rsp0: u64,
    pub(crate) rsp1: u64,
    pub(crate) rsp2: u64,
    pub(crate) _reserved1: u64,
    /// Stacks of NMI (1), machine check (2) and double fault (3).
    pub(crate) interrupt_stacks: [u64; 7],
    pub(crate) _reserved2: u64,
    pub(crate) _reserved3: u16,
    /// Beyond the segment's limit: no port is open to ring 3.
    pub(crate) io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);

/// One CPU's own page. The entry code depends on the offsets, which it takes by `offset_of!`.
#[repr(C)]
pub(crate) struct CpuInfo {
    /// The stack pointer of the guest while its system call is being recorded.
    pub(crate) scratch: u64,
    /// The end of the registers in the active context (as `rsp0`).
    pub(crate) registers_end: u64,
    /// The active context.
    pub(crate) context: *mut GuestContext,
    /// Where the entry page goes on: `guest_trap_entry` in the image.
    pub(crate) trap_entry: u64,
    /// This CPU's local APIC id.
    pub(crate) apic_id: u32,
    /// Events that came in by interrupt (`cpu::Pending`).
    pub(crate) pending: AtomicU32,
    /// The last fault in ring 0 that was foreseen: the vector, and the error code above it.
    pub(crate) fault: u64,
    pub(crate) task_state: TaskState,
}

const _: () = assert!(size_of::<CpuInfo>() <= 4096);

/// Offset of `CpuInfo` in a CPU's window.
pub(crate) const OFFSET: u64 = 0x1000;

/// This CPU's window; on the boot stack, which lies in none, an address below the first.
#[inline]
pub(crate) fn window() -> u64 {
    let window: u64;
    // SAFETY: reads a register. What comes out is the same wherever on its stack a CPU is, so it may be taken for a constant (`pure`).
    unsafe {
        asm!("mov {window}, rsp", "and {window}, {mask}", window = out(reg) window,
             mask = const -(layout::PER_CPU_SIZE as i64), options(pure, nomem, nostack));
    }
    window
}

/// This CPU's page, for fields that only this CPU, with interrupts off, writes.
#[inline]
pub(crate) fn current() -> *mut CpuInfo {
    (window() + OFFSET) as *mut CpuInfo
}

/// Sets where the next entry from ring 3 puts its frame.
pub(crate) fn set_context(context: *mut GuestContext, registers_end: u64) {
    let info = current();
    // SAFETY: the page is mapped from this CPU's start on, and only this CPU writes these fields.
    unsafe { (*info).context = context };
    // SAFETY: as above.
    unsafe { (*info).registers_end = registers_end };
    let stack = info.cast::<u8>().wrapping_add(offset_of!(CpuInfo, task_state.rsp0)).cast::<u64>();
    // SAFETY: as above; the field may be unaligned for its type.
    unsafe { stack.write_unaligned(registers_end) };
}

/// Records a foreseen fault in ring 0.
pub(crate) fn note_host_fault(vector: u64, error_code: u64) {
    // SAFETY: the page is mapped from this CPU's start on, and only this CPU writes the field.
    unsafe { (*current()).fault = vector & 0xff | error_code << 32 };
}

/// Vector and error code of the last foreseen fault in ring 0.
pub(crate) fn host_fault() -> (u8, u32) {
    // SAFETY: the page is mapped from this CPU's start on, and only this CPU writes the field.
    let fault = unsafe { (*current()).fault };
    ((fault & 0xff) as u8, (fault >> 32) as u32)
}
