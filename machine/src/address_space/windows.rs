#![expect(unsafe_code, reason = "writes descriptor tables and loads them")]
//! Per-CPU windows: construction at boot, and loading a window's descriptor tables on a CPU.

use core::arch::asm;

use super::early::Early;
use super::tables::{self, Mapper};
use crate::addr::CpuId;
use crate::integers::low_u16;
use crate::layout;
use crate::per_cpu::{self, CpuInfo};
use crate::processor::registers::DescriptorTable;

/// Offset of the GDT window in a CPU's window.
pub(crate) const GDT: u64 = 0x10000;
/// Offset of the LDT window in a CPU's window.
pub(crate) const LDT: u64 = 0x20000;
/// Offset of the page with the start of the active context, for the entry code under a restricted
/// root.
pub(crate) const CONTEXT: u64 = 0x30000;
/// Offset of the page with the active vCPU's `vcpu_info`, for the same purpose.
pub(crate) const VCPU_INFO: u64 = 0x31000;

/// Paravane's selectors. Their descriptors are in page 14 of every GDT.
pub(crate) const CODE64: u16 = 0xe008;
pub(crate) const DATA: u16 = 0xe010;
pub(crate) const USER_CODE32: u16 = 0xe023;
const TASK: u16 = 0xe040;
/// The LDT's descriptor, if the vCPU has an LDT.
pub(crate) const LDT_SELECTOR: u16 = 0xe050;

/// Interrupt stack table indices.
pub(crate) const STACK_NMI: u64 = 1;
pub(crate) const STACK_MACHINE_CHECK: u64 = 2;
pub(crate) const STACK_DOUBLE_FAULT: u64 = 3;
pub(crate) const STACK_DEBUG: u64 = 4;

/// First page of the GDT that belongs to Paravane.
const RESERVED_PAGE: u64 = abi::arch_x86_64::FIRST_RESERVED_GDT_PAGE as u64;
const STACKS: u64 = 0x40000;
const TRAP_STACK_SIZE: u64 = 0x2000;
const MAIN_STACK_SIZE: u64 = 0x10000;
const PAGE: u64 = 0x1000;

/// First byte of a CPU's window.
pub(crate) const fn base(cpu: CpuId) -> u64 {
    layout::PER_CPU_BASE + cpu.index() as u64 * layout::PER_CPU_SIZE
}

/// The stack of the entry code, which has the form of a trap stack.
const STACK_ENTRY: u64 = STACK_DEBUG + 1;

/// Offset of the first byte of trap stack `index`, counted from 1. Each stack has a guard page
/// below it.
const fn trap_stack(index: u64) -> u64 {
    STACKS + (index - 1) * (TRAP_STACK_SIZE + PAGE) + PAGE
}

/// The main stack is in the part of the window that restricted roots do not map.
const MAIN_STACK: u64 = layout::PER_CPU_TABLE + PAGE;
const _: () = assert!(trap_stack(STACK_ENTRY + 1) <= layout::PER_CPU_TABLE);
const _: () = assert!(MAIN_STACK + MAIN_STACK_SIZE <= layout::PER_CPU_SIZE);

/// Top of a CPU's stack for the entry code.
pub(crate) const fn entry_stack_top(window: u64) -> u64 {
    window + trap_stack(STACK_ENTRY) + TRAP_STACK_SIZE
}

/// Top of a CPU's main stack.
pub(crate) const fn main_stack_top(cpu: CpuId) -> u64 {
    base(cpu) + MAIN_STACK + MAIN_STACK_SIZE
}

/// Whether the address is on a CPU's stack, for stack walks.
pub(crate) fn is_stack(address: u64) -> bool {
    let end = layout::PER_CPU_BASE + crate::addr::MAX_CPUS as u64 * layout::PER_CPU_SIZE;
    if !(layout::PER_CPU_BASE..end).contains(&address) {
        return false;
    }
    let offset = address & (layout::PER_CPU_SIZE - 1);
    let mapped =
        (1..=STACK_ENTRY).any(|index| (trap_stack(index)..trap_stack(index) + TRAP_STACK_SIZE).contains(&offset));
    mapped || (MAIN_STACK..MAIN_STACK + MAIN_STACK_SIZE).contains(&offset)
}

/// The address in the image of entry code that is executed at `address` in a window. Other
/// addresses are returned.
pub(crate) fn address_in_image(address: u64) -> u64 {
    let end = layout::PER_CPU_BASE + crate::addr::MAX_CPUS as u64 * layout::PER_CPU_SIZE;
    let offset = address & (layout::PER_CPU_SIZE - 1);
    let is_code = (layout::PER_CPU_BASE..end).contains(&address) && offset < per_cpu::OFFSET;
    if is_code { layout::entry_page() + offset } else { address }
}

/// Whether the page at `offset` changes with the vCPU: the guest's part of the GDT window, the LDT
/// window, the context or the `vcpu_info`.
pub(crate) fn is_changeable(offset: u64) -> bool {
    (GDT..GDT + RESERVED_PAGE * PAGE).contains(&offset)
        || (LDT..LDT + 16 * PAGE).contains(&offset)
        || [CONTEXT, VCPU_INFO].contains(&offset)
}

/// Writes the LDT descriptor of this CPU.
pub(crate) fn set_ldt_descriptor(words: [u64; 2]) {
    let descriptor = per_cpu::window() + GDT + u64::from(LDT_SELECTOR);
    // SAFETY: the descriptor is in this CPU's own page of the GDT window, which only this CPU uses.
    unsafe { (descriptor as *mut [u64; 2]).write_volatile(words) };
}

/// Maps and fills the window of a CPU. Returns its `CpuInfo`, for the caller to complete.
pub(crate) fn build<'a>(cpu: CpuId, zeros: u64, mapper: &mut Mapper, memory: &mut Early) -> &'a mut CpuInfo {
    let base = base(cpu);
    let size = layout::entry_end() - layout::entry_page();
    assert!(size <= per_cpu::OFFSET, "the entry code has {size:#x} bytes, but a window has no room for so much");
    mapper.map(memory, base, layout::entry_page() - layout::IMAGE_OFFSET, size, tables::PRESENT);
    let info = memory.take_zeroed(PAGE, PAGE);
    mapper.map(memory, base + per_cpu::OFFSET, info, PAGE, mapper.data());
    let gdt = memory.take_zeroed(PAGE, PAGE);
    for page in 0..16 {
        let (frame, flags) = if page == RESERVED_PAGE { (gdt, mapper.data()) } else { (zeros, mapper.read_only()) };
        mapper.map(memory, base + GDT + page * PAGE, frame, PAGE, flags);
    }
    let stacks = (1..=STACK_ENTRY).map(|index| (trap_stack(index), TRAP_STACK_SIZE));
    for (offset, size) in stacks.chain([(MAIN_STACK, MAIN_STACK_SIZE)]) {
        let frames = memory.take_zeroed(size, PAGE);
        mapper.map(memory, base + offset, frames, size, mapper.data());
    }
    // The LDT window shares its tables with the other pages; its entries stay empty.
    fill_descriptors(base, layout::direct(gdt));
    start_info(cpu, layout::direct(info) as *mut CpuInfo)
}

fn start_info<'a>(cpu: CpuId, info: *mut CpuInfo) -> &'a mut CpuInfo {
    // SAFETY: the page was just allocated and zeroed, all-zero is a valid `CpuInfo`, and no other
    // pointer to it exists.
    let info = unsafe { &mut *info };
    let top = |index| base(cpu) + trap_stack(index) + TRAP_STACK_SIZE;
    info.task_state.interrupt_stacks =
        [top(STACK_NMI), top(STACK_MACHINE_CHECK), top(STACK_DOUBLE_FAULT), top(STACK_DEBUG), 0, 0, 0];
    info.task_state.io_map = low_u16(size_of_val(&info.task_state) as u64);
    info
}

fn fill_descriptors(base: u64, page: u64) {
    let task = base + per_cpu::OFFSET + core::mem::offset_of!(CpuInfo, task_state) as u64;
    let limit = size_of::<per_cpu::TaskState>() as u64 - 1;
    let descriptors: [u64; 12] = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0,
        0x00cf_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0,
        limit | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56,
        task >> 32,
        // The LDT's descriptor, written when a vCPU has an LDT.
        0,
        0,
    ];
    // SAFETY: the page was just allocated for this window's descriptors, and nothing else has a
    // pointer to it yet.
    unsafe { (page as *mut [u64; 12]).write(descriptors) };
}

/// Loads the window's GDT and task-state segment on this CPU.
pub(crate) fn load_segments(cpu: CpuId) {
    let base = base(cpu);
    let pointer = DescriptorTable { limit: 0xffff, base: base + GDT };
    // SAFETY: the window's GDT has been built; the segments loaded afterwards are its flat ones.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "mov ss, {data:x}",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "ltr {task:x}",
            "lldt {null:x}",
            pointer = in(reg) &raw const pointer,
            data = in(reg) u32::from(DATA),
            code = in(reg) u64::from(CODE64),
            scratch = out(reg) _,
            task = in(reg) u32::from(TASK),
            null = in(reg) 0u32,
        );
    }
}
