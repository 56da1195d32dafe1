//! The assembly between ring 0 and ring 3, and the offsets that it uses.
#![expect(unsafe_code, reason = "assembly and its entry points")]

use core::arch::global_asm;
use core::mem::offset_of;

use abi::arch_x86_64::{IretContext, flat, segment_base, vgcf};
use abi::xen::{MmuextOp, VcpuInfo, domid, hypercall, mmuext};

use super::MSR_KERNEL_GS_BASE;
use crate::addr::{HYPERVISOR_END, HYPERVISOR_SHIFT, HYPERVISOR_START};
use crate::address_space::windows;
use crate::context::fast_path::FRAME_ROOM;
use crate::context::no_operation::no_operation;
use crate::context::registers::{
    FLAGS_ALLOWED, FLAGS_CLEARED_ON_BOUNCE, FLAGS_FORCED, INTERRUPT_FLAG_BIT, PRIVILEGE_MASK,
};
use crate::context::{GuestContext, Registers, Selectors};
use crate::context::{KERNEL, USER};
use crate::per_cpu::{self, CpuInfo};
use crate::processor::msr;
use crate::{layout, vectors};

/// Exit reasons that are not vectors.
pub(crate) const REASON_SYSCALL: u32 = 0x100;
pub(crate) const REASON_SYSCALL32: u32 = 0x101;
pub(crate) const REASON_SYSENTER: u32 = 0x102;

/// Bits of a page fault's error code (Intel SDM volume 3, 4.7).
const FAULT_PRESENT: u32 = 1 << 0;
const FAULT_WRITE: u32 = 1 << 1;
const FAULT_USER: u32 = 1 << 2;
const FAULT_RESERVED: u32 = 1 << 3;

/// The frame that a guest's system-call handler finds on its stack.
#[repr(C)]
struct SyscallFrame {
    rcx: u64,
    r11: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// The frame that a guest's page fault handler finds on its stack.
#[repr(C)]
struct FaultFrame {
    rcx: u64,
    r11: u64,
    error_code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Offset of a field from the end of its frame, which is the former stack pointer.
macro_rules! from_top {
    ($frame:ident, $field:ident) => {
        offset_of!($frame, $field).cast_signed() - size_of::<$frame>().cast_signed()
    };
}

const _: () = assert!(size_of::<FaultFrame>() as u64 == FRAME_ROOM && size_of::<SyscallFrame>() as u64 <= FRAME_ROOM);
// The fields that both frames have share one set of names.
const _: () = assert!(from_top!(SyscallFrame, rip) == from_top!(FaultFrame, rip));
// The entry code uses the context's address as the address of its registers.
const _: () = assert!(offset_of!(GuestContext, registers) == 0);

global_asm!(
    include_str!("../../processor/trap_macros.S"),
    include_str!("entry.S"),
    cpu_info = const per_cpu::OFFSET,
    scratch = const offset_of!(CpuInfo, scratch),
    registers_end = const offset_of!(CpuInfo, registers_end),
    clear_history = const offset_of!(GuestContext, clear_history),
    count_history = const offset_of!(GuestContext, fast_path_counts.history_clears),
    clear_history_site = const Feature::ClearHistory as u32,
    history_short = const Feature::HistoryShort as u32,
    history_long = const Feature::HistoryLong as u32,
    history_transaction = const Feature::HistoryTransaction as u32,
    own_spec_ctrl = const offset_of!(CpuInfo, own_spec_ctrl),
    running_spec_ctrl = const offset_of!(GuestContext, running_spec_ctrl),
    msr_spec_ctrl = const msr::SPEC_CTRL,
    spec_ctrl = const Feature::SpecCtrl as u32,
    branches_at_exit = const Feature::BranchesAtExit as u32,
    rare_at_enter = const Feature::RareAtEnter as u32,
    count_spec_ctrl = const offset_of!(GuestContext, fast_path_counts.spec_ctrl_writes),
    context = const offset_of!(CpuInfo, context),
    registers_size = const size_of::<Registers>(),
    in_kernel = const offset_of!(GuestContext, in_kernel),
    full_roots = const offset_of!(GuestContext, full_roots),
    guest_roots = const offset_of!(GuestContext, guest_roots),
    user_cr3 = const offset_of!(GuestContext, guest_roots) + USER * size_of::<u64>(),
    kernel_cr3 = const offset_of!(GuestContext, guest_roots) + KERNEL * size_of::<u64>(),
    user_access = const Feature::UserAccess as u32,
    split_roots = const Feature::SplitRoots as u32,
    clear_buffers = const Feature::ClearBuffers as u32,
    return_stack = const Feature::ReturnStack as u32,
    barrier_at_entry_site = const Feature::BarrierAtEntry as u32,
    overwrite_quotient = const Feature::OverwriteQuotient as u32,
    barrier_at_entry = const offset_of!(GuestContext, barrier_at_entry),
    msr_prediction_command = const msr::PRED_CMD,
    prediction_barrier = const msr::PREDICTION_BARRIER,
    data_selector = const windows::DATA,
    entry_address = const offset_of!(GuestContext, entry_address),
    any_at_exit = const Feature::AnyAtExit as u32,
    any_at_enter = const Feature::AnyAtEnter as u32,
    plain_return = const Feature::PlainReturn as u32,
    count_return_stack = const offset_of!(GuestContext, fast_path_counts.return_stacks),
    count_barrier = const offset_of!(GuestContext, fast_path_counts.barriers),
    count_buffer_clear = const offset_of!(GuestContext, fast_path_counts.buffer_clears),
    count_root_switch = const offset_of!(GuestContext, fast_path_counts.root_switches),
    vcpu_info = const offset_of!(GuestContext, vcpu_info_address),
    fast_syscall_stack = const offset_of!(GuestContext, fast_path.syscall_stack),
    fast_bounce_stack = const offset_of!(GuestContext, fast_path.bounce_stack),
    fast_fault_handler = const offset_of!(GuestContext, fast_path.fault_handler),
    fast_irets = const offset_of!(GuestContext, fast_path.irets),
    count_system_call = const offset_of!(GuestContext, fast_path_counts.system_calls),
    count_return = const offset_of!(GuestContext, fast_path_counts.returns),
    count_kernel_return = const offset_of!(GuestContext, fast_path_counts.kernel_returns),
    count_fault = const offset_of!(GuestContext, fast_path_counts.faults),
    count_page_flush = const offset_of!(GuestContext, fast_path_counts.page_flushes),
    count_stack_switch = const offset_of!(GuestContext, fast_path_counts.stack_switches),
    count_segment_base = const offset_of!(GuestContext, fast_path_counts.segment_bases),
    kernel_stack = const offset_of!(GuestContext, kernel_stack),
    gs_base_user = const offset_of!(GuestContext, gs_base_user),
    frame_room = const FRAME_ROOM,
    msr_kernel_gs_base = const MSR_KERNEL_GS_BASE,
    stack_switch = const hypercall::STACK_SWITCH,
    set_segment_base = const hypercall::SET_SEGMENT_BASE,
    segment_gs_user = const segment_base::GS_USER,
    count_kernel_fault = const offset_of!(GuestContext, fast_path_counts.kernel_faults),
    syscall_handler = const offset_of!(GuestContext, fast_path.syscall_handler),
    upcall_pending = const offset_of!(VcpuInfo, event_upcall_pending),
    upcall_mask = const offset_of!(VcpuInfo, event_upcall_mask),
    guest_cr2 = const offset_of!(VcpuInfo, arch.cr2),
    hypervisor_shift = const HYPERVISOR_SHIFT,
    hypervisor_top_bits = const HYPERVISOR_START >> HYPERVISOR_SHIFT,
    page_fault = const vectors::PAGE_FAULT,
    fault_write_to_present = const FAULT_PRESENT | FAULT_WRITE,
    fault_user = const FAULT_USER,
    fault_reserved = const FAULT_RESERVED,
    interrupt_flag_bit = const INTERRUPT_FLAG_BIT,
    privilege_mask = const PRIVILEGE_MASK,
    bounce_ss = const from_top!(SyscallFrame, ss),
    bounce_rsp = const from_top!(SyscallFrame, rsp),
    bounce_rflags = const from_top!(SyscallFrame, rflags),
    bounce_cs = const from_top!(SyscallFrame, cs),
    bounce_rip = const from_top!(SyscallFrame, rip),
    syscall_r11 = const from_top!(SyscallFrame, r11),
    syscall_rcx = const from_top!(SyscallFrame, rcx),
    fault_error_code = const from_top!(FaultFrame, error_code),
    fault_r11 = const from_top!(FaultFrame, r11),
    fault_rcx = const from_top!(FaultFrame, rcx),
    hypervisor_end = const HYPERVISOR_END,
    flags_allowed = const FLAGS_ALLOWED,
    flags_forced = const FLAGS_FORCED,
    flags_kept = const !FLAGS_CLEARED_ON_BOUNCE.cast_signed(),
    iret = const hypercall::IRET,
    mmuext_op = const hypercall::MMUEXT_OP,
    mmuext_command = const offset_of!(MmuextOp, command),
    mmuext_argument = const offset_of!(MmuextOp, argument1),
    invlpg_local = const mmuext::INVLPG_LOCAL,
    domid_self = const domid::SELF,
    in_syscall = const vgcf::IN_SYSCALL,
    iret_rax = const offset_of!(IretContext, rax),
    iret_r11 = const offset_of!(IretContext, r11),
    iret_rcx = const offset_of!(IretContext, rcx),
    iret_flags = const offset_of!(IretContext, flags),
    iret_rip = const offset_of!(IretContext, rip),
    iret_cs = const offset_of!(IretContext, cs),
    iret_rflags = const offset_of!(IretContext, rflags),
    iret_rsp = const offset_of!(IretContext, rsp),
    iret_ss = const offset_of!(IretContext, ss),
    error_code = const offset_of!(Registers, error_code),
    window_mask = const -layout::PER_CPU_SIZE.cast_signed(),
    flat_ss = const flat::USER_SS64,
    flat_cs64 = const flat::USER_CS64,
    flat_cs32 = const flat::USER_CS32,
    reason_syscall = const REASON_SYSCALL,
    reason_syscall32 = const REASON_SYSCALL32,
    reason_sysenter = const REASON_SYSENTER,
    host_stack = const offset_of!(GuestContext, host_stack),
    entry_stack = const offset_of!(GuestContext, entry_stack),
    fault_address = const offset_of!(GuestContext, fault_address),
    vector = const offset_of!(Registers, vector),
    r15 = const offset_of!(Registers, r15),
    r14 = const offset_of!(Registers, r14),
    r13 = const offset_of!(Registers, r13),
    r12 = const offset_of!(Registers, r12),
    rbp = const offset_of!(Registers, rbp),
    rbx = const offset_of!(Registers, rbx),
    r11 = const offset_of!(Registers, r11),
    r10 = const offset_of!(Registers, r10),
    r9 = const offset_of!(Registers, r9),
    r8 = const offset_of!(Registers, r8),
    rax = const offset_of!(Registers, rax),
    rcx = const offset_of!(Registers, rcx),
    rdx = const offset_of!(Registers, rdx),
    rsi = const offset_of!(Registers, rsi),
    rdi = const offset_of!(Registers, rdi),
    rip = const offset_of!(Registers, rip),
    cs = const offset_of!(Registers, cs),
    rflags = const offset_of!(Registers, rflags),
    rsp = const offset_of!(Registers, rsp),
    ss = const offset_of!(Registers, ss),
);

global_asm!(
    include_str!("../../processor/trap_macros.S"),
    include_str!("guest_access.S"),
    plain_return = const Feature::PlainReturn as u32,
    ds = const offset_of!(Selectors, ds),
    es = const offset_of!(Selectors, es),
    fs = const offset_of!(Selectors, fs),
    gs = const offset_of!(Selectors, gs),
);

global_asm!(
    include_str!("../../processor/trap_macros.S"),
    include_str!("branches.S"),
    plain_return = const Feature::PlainReturn as u32,
    plain_branch = const Feature::PlainBranch as u32,
    fenced_branch = const Feature::FencedBranch as u32,
);

/// A feature whose instructions in the assembly are replaced by no-ops where it is not in use.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Feature {
    /// SMAP: ring 0 needs permission to access user pages.
    UserAccess,
    /// Some guests run with restricted roots.
    SplitRoots,
    /// VERW before each return to a guest.
    ClearBuffers,
    /// The return stack buffer is overwritten on each exit to Rust code.
    ReturnStack,
    /// IBPB on each exit to Rust code, for some domains.
    BarrierAtEntry,
    /// SPEC_CTRL on each exit to Rust code, each entry from it, and around traps in ring 0 (IBRS at
    /// each entry).
    SpecCtrl,
    /// The history of branches is cleared on each exit to Rust code, for some domains, and at traps
    /// that are handled on stacks of their own.
    ClearHistory,
    /// By short loops. Removed before that, as the two others.
    HistoryShort,
    /// By long loops.
    HistoryLong,
    /// By a transaction.
    HistoryTransaction,
    /// A division before Rust code enters a guest.
    OverwriteQuotient,
    /// VERW before a CPU halts.
    BuffersBeforeIdle,
    /// The return stack buffer is overwritten before a CPU halts.
    ReturnStackBeforeIdle,
    /// Any of those against branch predictions on each exit to Rust code. Removed after them, since
    /// it contains them.
    BranchesAtExit,
    /// SPEC_CTRL or the division. Removed after them.
    RareAtEnter,
    /// Any of those on each exit to Rust code. Removed after them.
    AnyAtExit,
    /// The same for the entry from Rust code.
    AnyAtEnter,
    /// Returns of the assembly are plain.
    PlainReturn,
    /// Indirect branches of compiled code are plain jumps.
    PlainBranch,
    /// Indirect branches of compiled code are jumps after LFENCE.
    FencedBranch,
}

/// An entry of the table of instructions for a feature, as `feature_site` makes it.
#[repr(C)]
struct Site {
    /// Distance from the entry to the first instruction.
    offset: i32,
    /// Length of the instructions in bytes.
    length: u16,
    /// The number of the [`Feature`].
    feature: u8,
    _padding: u8,
}

/// Replaces the assembly's instructions for a feature that is not in use by no-ops.
///
/// # Safety
/// No other CPU and no guest may be running.
pub(crate) unsafe fn remove(feature: Feature) {
    let (start, end) = (layout::feature_sites_start(), layout::feature_sites_end());
    for entry in (start..end).step_by(size_of::<Site>()) {
        // SAFETY: the linker places a table of sites between the two symbols.
        let site = unsafe { (entry as *const Site).read() };
        if site.feature != feature as u8 {
            continue;
        }
        let instructions = entry.wrapping_add_signed(site.offset.into()) - layout::IMAGE_OFFSET;
        let writable = layout::direct(instructions) as *mut u8;
        for (index, byte) in (0..).zip(no_operation(site.length)) {
            // SAFETY: the byte belongs to the instructions. The direct map maps them writable, and
            // nothing executes them now.
            unsafe { writable.wrapping_add(index).write(byte) };
        }
    }
}

unsafe extern "C" {
    /// Runs the guest. The context must be this CPU's active one, with sanitised registers.
    #[expect(improper_ctypes, reason = "the entry code uses the compiler's offsets")]
    pub(super) fn guest_enter(context: *mut GuestContext) -> u32;
    /// Copies to or from guest memory; returns the bytes not copied.
    pub(super) fn guest_copy(to: *mut u8, from: *const u8, length: usize) -> usize;
    /// Loads the data segments; returns how many were refused.
    pub(super) fn load_selectors(selectors: *const Selectors) -> u32;
    /// Overwrites the return stack buffer.
    pub(super) safe fn overwrite_return_stack_buffer();
}
