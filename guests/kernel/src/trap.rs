//! Traps: the table, the entries, and how a check provokes and inspects a trap.
//!
//! Each vector has an entry that converts the hypervisor's frame to a [`Frame`] and returns with
//! the `iret` hypercall. A check arms a vCPU with [`attempt!`]: the next trap from kernel mode is
//! recorded, and execution continues after the instruction. An unexpected trap ends the guest with
//! an error. Traps from user mode end [`crate::user::run`].

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::arch_x86_64::TrapInfo;
use abi::callback;

use crate::call::number;
use crate::memory::{vcpu_info, zeroed};
use crate::start::{MAX_VCPUS, vcpu};

/// Selector of 64-bit code, as loaded.
pub const CS64: u64 = 0xe033;
/// Selector of 32-bit code, as loaded.
pub const CS32: u64 = 0xe023;
/// Selector of stack and data, as loaded.
pub const SS: u64 = 0xe02b;

/// Value of [`Frame::vector`] for the event callback.
pub const EVENT: u64 = 0x100;
/// Value of [`Frame::vector`] for the failsafe callback.
pub const FAILSAFE: u64 = 0x101;
/// Value of [`Frame::vector`] for the system-call callback.
pub const SYSCALL: u64 = 0x102;
/// Value of [`Frame::vector`] for the system-call callback of 32-bit code.
pub const SYSCALL32: u64 = 0x103;
/// Value of [`Frame::vector`] for the sysenter callback.
pub const SYSENTER: u64 = 0x104;
/// Value of [`Frame::vector`] for the NMI callback.
pub const NMI: u64 = 0x105;

/// Registers of the interrupted code and the hypervisor's information about the trap.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[expect(missing_docs, reason = "registers")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// A recorded trap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trap {
    /// The frame as built by the hypervisor.
    pub frame: Frame,
    /// `vcpu_info.arch.cr2` at the handler's start.
    pub cr2: u64,
    /// `evtchn_upcall_mask` at the handler's start.
    pub mask: u8,
    /// Address just above the frame's last word.
    pub top: u64,
    /// Address at which [`attempt!`] continues, after its last instruction.
    pub resume: u64,
}

struct PerVcpu {
    /// Address at which to continue after a trap from kernel mode; 0 if no trap is expected.
    resume: AtomicU64,
    /// The last trap.
    last: core::cell::UnsafeCell<Trap>,
    count: AtomicU64,
}

// SAFETY: only the vCPU itself accesses `last`.
unsafe impl Sync for PerVcpu {}

static STATE: [PerVcpu; MAX_VCPUS] = [const {
    PerVcpu {
        resume: AtomicU64::new(0),
        // SAFETY: all fields are integers, for which zero bytes are valid.
        last: core::cell::UnsafeCell::new(unsafe { core::mem::zeroed() }),
        count: AtomicU64::new(0),
    }
}; MAX_VCPUS];

/// Data segment selectors in the failsafe callback's frame: DS, ES, FS, GS.
pub static FAILSAFE_SEGMENTS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static HOOKS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

core::arch::global_asm!(
    ".pushsection .text",
    ".globl trap_entries, entry_event, entry_failsafe, entry_syscall, entry_syscall32, entry_sysenter, entry_nmi",
    // One entry of 16 bytes per vector. Entered with RCX, R11, [error code], RIP, CS, RFLAGS, RSP,
    // SS on the stack. Continues with vector, error code (or 0), RIP and so on there, and RCX and
    // R11 in their registers.
    ".balign 16",
    "trap_entries:",
    ".set trap_vector, 0",
    ".rept 256",
    ".balign 16",
    "pop rcx",
    "pop r11",
    ".if (trap_vector == 8) || ((trap_vector >= 10) && (trap_vector <= 14)) || (trap_vector == 17) || (trap_vector == 21)",
    ".else",
    "push 0",
    ".endif",
    ".byte 0x68",
    ".long trap_vector",
    "jmp trap_common",
    ".set trap_vector, trap_vector + 1",
    ".endr",
    ".balign 16",
    "entry_event:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push 0x100",
    "jmp trap_common",
    "entry_failsafe:",
    "pop rcx",
    "pop r11",
    "pop qword ptr [rip + {segments}]",
    "pop qword ptr [rip + {segments} + 8]",
    "pop qword ptr [rip + {segments} + 16]",
    "pop qword ptr [rip + {segments} + 24]",
    "push 0",
    "push 0x101",
    "jmp trap_common",
    "entry_syscall:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push 0x102",
    "jmp trap_common",
    "entry_syscall32:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push 0x103",
    "jmp trap_common",
    "entry_sysenter:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push 0x104",
    "jmp trap_common",
    "entry_nmi:",
    "pop rcx",
    "pop r11",
    "push 0",
    "push 0x105",
    "trap_common:",
    "push rdi",
    "push rsi",
    "push rdx",
    "push rcx",
    "push rax",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "cld",
    "mov rdi, rsp",
    "mov rbx, rsp",
    "and rsp, -16",
    "call {handler}",
    "mov rsp, rbx",
    // Restores the `Frame` at RSP for the interrupted code. Its error code field contains the flags
    // of the iret call.
    ".globl trap_leave",
    "trap_leave:",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rax",
    "pop rcx",
    "pop rdx",
    "pop rsi",
    "pop rdi",
    "add rsp, 8",
    "jmp hypercall_page + 23 * 32",
    ".popsection",
    segments = sym FAILSAFE_SEGMENTS,
    handler = sym handler,
);

unsafe extern "C" {
    static trap_entries: u8;
    static entry_event: u8;
    static entry_failsafe: u8;
    static entry_syscall: u8;
    static entry_syscall32: u8;
    static entry_sysenter: u8;
    static entry_nmi: u8;
}

/// Address of the entry for `vector`.
#[must_use]
pub fn entry(vector: u64) -> u64 {
    let base = &raw const trap_entries as u64;
    match vector {
        EVENT => &raw const entry_event as u64,
        FAILSAFE => &raw const entry_failsafe as u64,
        SYSCALL => &raw const entry_syscall as u64,
        SYSCALL32 => &raw const entry_syscall32 as u64,
        SYSENTER => &raw const entry_sysenter as u64,
        NMI => &raw const entry_nmi as u64,
        _ => base + vector * 16,
    }
}

/// A trap table entry for the shared kernel's handler.
#[must_use]
pub fn shared(vector: u8, flags: u8) -> TrapInfo {
    TrapInfo { vector, flags, code_selector: CS64 as u16, _pad: 0, address: entry(u64::from(vector)) }
}

/// Sets a trap table of `entries` plus an end mark.
pub fn set_table(entries: &[TrapInfo]) -> i64 {
    let mut table = [zeroed::<TrapInfo>(); 257];
    table[..entries.len()].copy_from_slice(entries);
    crate::call!(number::SET_TRAP_TABLE, &table)
}

/// Registers a callback (`CALLBACKOP_register`).
pub fn register_callback(kind: u16, flags: u16, address: u64) -> i64 {
    let register = callback::Register { kind, flags, address, ..zeroed() };
    crate::call!(number::CALLBACK_OP, callback::op::REGISTER, &register)
}

/// Sets the shared kernel's table: all vectors, masked; 3, 4 and 0x80 are available to user mode.
pub(crate) fn start() {
    let mut table = [zeroed::<TrapInfo>(); 257];
    for vector in 0..=255u8 {
        let open = matches!(vector, 3 | 4 | 0x80);
        table[usize::from(vector)] = shared(vector, if open { 7 } else { 4 });
    }
    assert_eq!(crate::call!(number::SET_TRAP_TABLE, &table), 0, "set_trap_table");
    assert_eq!(register_callback(0, 0, entry(EVENT)), 0, "event callback");
    assert_eq!(register_callback(1, 0, entry(FAILSAFE)), 0, "failsafe callback");
    assert_eq!(register_callback(2, 1, entry(SYSCALL)), 0, "syscall callback");
}

/// A function that inspects traps first. It returns true if it has handled the trap, which then
/// returns with the frame.
pub type Hook = fn(&mut Frame) -> bool;

/// Sets or clears the hook for events (`events`) or for all other traps.
pub fn set_hook(events: bool, hook: Option<Hook>) {
    HOOKS[usize::from(events)].store(hook.map_or(0, |hook| hook as usize as u64), Relaxed);
}

extern "C" fn handler(frame: &mut Frame) {
    let vcpu = vcpu();
    let state = &STATE[vcpu];
    let record = Trap {
        frame: *frame,
        cr2: vcpu_info(vcpu).cr2(),
        mask: vcpu_info(vcpu).mask(),
        top: core::ptr::from_mut(frame) as u64 + size_of::<Frame>() as u64,
        resume: state.resume.load(Relaxed),
    };
    // The error code field contains the flags of the iret call that ends the trap.
    frame.error = 0;
    let hook = HOOKS[usize::from(frame.vector == EVENT)].load(Relaxed);
    if hook != 0 {
        // SAFETY: only `set_hook` stores this value, which is 0 or of this type.
        let hook: Hook = unsafe { core::mem::transmute(hook as usize) };
        if hook(frame) {
            return;
        }
    }
    // SAFETY: this vCPU's own cell, and no reference to it outlives a call of `handler` or `taken`.
    unsafe { *state.last.get() = record };
    state.count.fetch_add(1, Relaxed);
    if frame.cs & 3 == 3 {
        crate::user::leave(&record);
    }
    let resume = state.resume.swap(0, Relaxed);
    if resume == 0 {
        crate::harness::error(format_args!(
            "trap {:#x} at {:#x}, error code {:#x}, cr2 {:#x}, cs {:#x}, rsp {:#x}, rflags {:#x}",
            frame.vector, frame.rip, record.frame.error, record.cr2, frame.cs, frame.rsp, frame.rflags
        ));
    }
    frame.rip = resume;
    // Single-step only one instruction.
    frame.rflags &= !0x100;
}

/// Slot for the address at which the next trap of this vCPU continues; for [`attempt!`].
#[must_use]
pub fn resume_slot() -> *mut u64 {
    STATE[vcpu()].resume.as_ptr()
}

/// The trap since `before` ([`count`]), if there was one. Disarms the vCPU.
#[must_use]
pub fn taken(before: u64) -> Option<Trap> {
    let state = &STATE[vcpu()];
    state.resume.store(0, Relaxed);
    // SAFETY: this vCPU's own cell, read while no trap is in progress.
    (state.count.load(Relaxed) != before).then(|| unsafe { *state.last.get() })
}

/// Number of traps of this vCPU.
#[must_use]
pub fn count() -> u64 {
    STATE[vcpu()].count.load(Relaxed)
}

/// `attempt!("instruction", …; operands…)`: runs instructions of which one may trap, and returns
/// the trap, if there was one.
///
/// After a trap, execution continues after the last instruction. The instructions must not use R14.
/// Labels 7771 and 7772 mark their start and end.
#[macro_export]
macro_rules! attempt {
    ($($line:expr),+ $(; $($operand:tt)*)?) => {{
        let before = $crate::trap::count();
        #[allow(unused_unsafe, clippy::undocumented_unsafe_blocks, reason = "by convention: see the crate's documentation")]
        // SAFETY: by convention (crate documentation): the handler continues execution after the
        // instructions, and the operands declare their effects.
        unsafe {
            core::arch::asm!(
                "lea r14, [rip + 7772f]",
                "mov [{resume_slot}], r14",
                "7771:",
                $($line,)+
                "7772:",
                resume_slot = in(reg) $crate::trap::resume_slot(),
                out("r14") _,
                $($($operand)*)?
            );
        }
        $crate::trap::taken(before)
    }};
}
