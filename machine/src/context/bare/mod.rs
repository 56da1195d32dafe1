#![expect(unsafe_code, reason = "loads guest state into the processor and runs it")]
//! Loading, running and unloading a vCPU on the machine.

mod descriptor_window;
pub(crate) mod entry;
mod extended_state;

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use abi::xen::DomainId;

use super::control::CONTROL4_LOADED;
use super::fast_path::FastPathCounts;
use super::registers::{FLAGS_ALLOWED, FLAGS_FORCED};
use super::{Exit, GuestContext, KERNEL, Registers, Selectors, USER, speculation_control};
use crate::addr::{GuestVirt, MAX_CPUS, MachineAddr, Mfn, PerCpu};
use crate::address_space::{tables, windows};
use crate::counters::{self, Counter};
use crate::defences::GuestSpecCtrl;
use crate::frames::{Descriptor, TypedRef};
use crate::integers::{low_u8, low_u32};
use crate::processor::msr;
use crate::processor::{self, debug_registers, registers};
use crate::tlb::clock as tlb_clock;
use crate::{defences, interrupt_dispatch, layout, per_cpu, vectors};

pub(crate) use super::extended_state::ExtendedState;
pub(crate) use crate::processor::debug_registers::clear_breakpoints;
pub(crate) use crate::processor::registers::write_spec_ctrl;
pub(crate) use descriptor_window::LdtPages as BackendState;
pub(crate) use extended_state::supported as supported_states;

const LAST_EXCEPTION: u32 = vectors::LAST_EXCEPTION as u32;
const LEGACY_SYSCALL: u32 = vectors::LEGACY_SYSCALL as u32;

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
pub(super) const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;

/// Sets the address of the `vcpu_info` for the entry code: in this CPU's window if the vCPU has
/// split roots, in the direct map otherwise.
pub(crate) fn show_vcpu_info(context: &mut GuestContext) {
    let Some((page, offset)) = context.vcpu_info() else { return };
    context.vcpu_info_address = if context.split_roots {
        let offset = offset as u64;
        tables::set_window_page(windows::VCPU_INFO, Some(page.frame().mfn()));
        per_cpu::window() + windows::VCPU_INFO + offset
    } else {
        page.atomic_u8(offset).as_ptr() as u64
    };
}

/// The address of the context for the entry code: as for the `vcpu_info`.
fn show_context(context: &mut GuestContext) -> u64 {
    let address = (&raw mut *context) as u64;
    if !context.split_roots {
        return address;
    }
    let frame = Mfn::containing(MachineAddr::new(address - layout::DIRECT_MAP_BASE));
    tables::set_window_page(windows::CONTEXT, Some(frame));
    per_cpu::window() + windows::CONTEXT
}

fn write_cr3(value: u64) {
    counters::count(Counter::FlushingRootLoads);
    // SAFETY: roots passed to this module are promoted L4 tables, which contain Paravane's slots
    // (`validate_tables`), or Paravane's own root. All memory that Rust code uses stays mapped.
    unsafe { registers::write_cr3(value) };
}

fn write_base(msr: u32, value: u64) {
    // SAFETY: FS and GS belong to the guest; Paravane uses neither.
    unsafe { registers::write_msr(msr, value) };
}

fn swap_gs() {
    // SAFETY: both GS bases belong to the guest.
    unsafe { asm!("swapgs", options(nomem, nostack, preserves_flags)) };
}

/// The root table of the current mode.
const fn root(context: &GuestContext) -> u64 {
    if context.in_kernel != 0 { context.full_roots[KERNEL] } else { context.full_roots[USER] }
}

/// Loads the root table of the current mode. This is a full flush, since no PCID is in use.
pub(crate) fn load_root(context: &GuestContext) {
    tlb_clock::around_flush(|| write_cr3(root(context)));
}

/// Switches from Paravane's own root table to the context's.
pub(crate) fn enter_root(context: &GuestContext) {
    tlb_clock::around_entry(context.owner(), || write_cr3(root(context)));
}

/// Switches to Paravane's own root table.
pub(crate) fn leave_root() {
    let idle = tables::idle_root();
    tlb_clock::around_leaving(|| write_cr3(idle));
}

/// Loads the root and GS base of the mode that has just been set.
pub(crate) fn swap_mode(context: &mut GuestContext) {
    swap_gs();
    load_root(context);
}

/// Loads the breakpoints of the active vCPU, if it has enabled one that the processor can handle.
pub(crate) fn load_breakpoints(context: &GuestContext) {
    let Some(control) = context.watching() else { return };
    let [first, second, third, fourth, ..] = context.debug_registers;
    debug_registers::load_breakpoints([first, second, third, fourth], control);
}

/// Adds the processor's debug status to the vCPU's recorded status, and resets the processor's.
pub(crate) fn latch_debug_status(context: &mut GuestContext) {
    context.debug_registers[6] |= debug_registers::take_status();
}

/// The domain whose vCPU ran last on each CPU, with bit 16 set.
static LAST_OWNER: PerCpu<AtomicU32> = PerCpu::new([const { AtomicU32::new(0) }; MAX_CPUS]);

/// Discards branch predictions if another domain's vCPU ran last on this CPU. The vCPUs of one
/// domain trust each other.
fn separate_domains(owner: DomainId) {
    if defences::report().plan.barrier_at_switch {
        let owner = u32::from(owner.0) | 1 << 16;
        if LAST_OWNER[per_cpu::current()].swap(owner, Ordering::Relaxed) != owner {
            discard_predictions();
            if defences::report().plan.barrier_keeps_returns {
                counters::count(Counter::ReturnStacks);
                entry::overwrite_return_stack_buffer();
            }
        }
    }
}

/// Loads a vCPU into this CPU.
pub(crate) fn activate(context: &mut GuestContext) {
    counters::count(Counter::Activations);
    separate_domains(context.owner());
    let address = show_context(context);
    context.entry_address = address;
    per_cpu::set_context(address as *mut (), address + size_of::<Registers>() as u64);
    context.entry_stack = windows::entry_stack_top(per_cpu::window());
    show_vcpu_info(context);
    enter_root(context);
    descriptor_window::show(context);
    context.selectors_refused = !load_data_segments(context);
    context.extended.load();
    load_task_switched(context);
    load_control4(context);
    speculation_control::load(context);
    load_breakpoints(context);
}

/// Loads the selectors of the last activation and the bases. Returns `false` if a selector was
/// refused and is null.
pub(crate) fn load_data_segments(context: &mut GuestContext) -> bool {
    // SAFETY: the pointer is valid; a selector that faults is replaced by null.
    let refused = unsafe { entry::load_selectors(&raw const context.selectors) };
    write_base(MSR_FS_BASE, context.fs_base);
    let (live, other) = match context.in_kernel {
        0 => (context.gs_base_user, context.gs_base_kernel),
        _ => (context.gs_base_kernel, context.gs_base_user),
    };
    write_base(MSR_GS_BASE, live);
    write_base(MSR_KERNEL_GS_BASE, other);
    refused == 0
}

/// Saves the live state and unloads the guest's root table.
pub(crate) fn deactivate(context: &mut GuestContext) {
    publish_counts(context);
    set_task_switched_bit(false);
    context.extended.save();
    // Refused selectors that have not been reported yet are retried.
    if !context.selectors_refused {
        context.selectors = live_selectors(context);
    }
    let (fs, gs_kernel, gs_user) = live_segment_bases(context);
    (context.fs_base, context.gs_base_kernel, context.gs_base_user) = (fs, gs_kernel, gs_user);
    if context.watching().is_some() {
        clear_breakpoints();
    }
    clear_live_selectors();
    descriptor_window::clear(context);
    per_cpu::set_context(core::ptr::null_mut(), 0);
    if context.split_roots {
        tables::clear_window_page(windows::CONTEXT);
        tables::clear_window_page(windows::VCPU_INFO);
    }
    leave_root();
}

/// Runs the guest until an exit.
pub(crate) fn run(context: &mut GuestContext) -> Exit {
    sanitise(&mut context.registers);
    // SAFETY: the context is this CPU's active one (`Active` exists only after `activate`), and its
    // registers have just been sanitised.
    let refused = unsafe { entry::guest_enter(context) };
    if refused != 0 {
        // The processor refused the guest's state on return. The guest gets a trap at that place.
        let (vector, error_code) = per_cpu::host_fault();
        let address = if vector == vectors::PAGE_FAULT { registers::read_cr2() } else { 0 };
        return Exit::Trap { vector, error_code, address: GuestVirt::new(address) };
    }
    let registers = &context.registers;
    match low_u32(registers.vector) {
        entry::REASON_SYSCALL if context.in_kernel != 0 => {
            counters::count(Counter::Hypercalls);
            Exit::Hypercall
        }
        entry::REASON_SYSCALL => {
            counters::count(Counter::SystemCalls);
            Exit::Syscall
        }
        entry::REASON_SYSCALL32 => Exit::Syscall32,
        entry::REASON_SYSENTER => Exit::Sysenter,
        vector @ (0..=LAST_EXCEPTION | LEGACY_SYSCALL) => {
            counters::count(Counter::Traps);
            Exit::Trap {
                vector: low_u8(vector.into()),
                error_code: low_u32(registers.error_code),
                address: GuestVirt::new(if low_u8(vector.into()) == vectors::PAGE_FAULT {
                    context.fault_address
                } else {
                    0
                }),
            }
        }
        vector => {
            counters::count(Counter::Interrupts);
            publish_counts(context);
            interrupt_dispatch::host_interrupt(low_u8(vector.into()));
            Exit::Interrupt
        }
    }
}

/// Adds the entry code's counts to this CPU's counters.
fn publish_counts(context: &mut GuestContext) {
    let counts = core::mem::take(&mut context.fast_path_counts);
    let FastPathCounts {
        system_calls,
        returns,
        kernel_returns,
        faults,
        kernel_faults,
        page_flushes,
        stack_switches,
        segment_bases,
        root_switches,
        return_stacks,
        barriers,
        history_clears,
        spec_ctrl_writes,
        buffer_clears,
    } = counts;
    if defences::report().plan.verw {
        let returns = system_calls + returns + kernel_returns + faults + kernel_faults;
        counters::add(Counter::BufferClears, buffer_clears + returns + page_flushes + stack_switches + segment_bases);
    }
    counters::add(Counter::ReturnStacks, return_stacks);
    counters::add(Counter::PredictionBarriers, barriers);
    counters::add(Counter::FastSystemCalls, system_calls);
    counters::add(Counter::FastReturns, returns);
    counters::add(Counter::FastKernelReturns, kernel_returns);
    counters::add(Counter::FastFaults, faults);
    counters::add(Counter::FastKernelFaults, kernel_faults);
    counters::add(Counter::FastPageFlushes, page_flushes);
    counters::add(Counter::PageFlushes, page_flushes);
    counters::add(Counter::FastStackSwitches, stack_switches);
    counters::add(Counter::FastSegmentBases, segment_bases);
    counters::add(Counter::HistoryClears, history_clears);
    counters::add(Counter::SpecCtrlWrites, spec_ctrl_writes);
    counters::add(Counter::MsrWrites, segment_bases + spec_ctrl_writes);
    counters::add(Counter::FlushingRootLoads, system_calls + returns + faults + root_switches);
    counters::add(Counter::RootSwitches, root_switches);
}

/// Sanitises the registers: with any values, the guest runs in ring 3, with interrupts enabled, and
/// without I/O privilege.
fn sanitise(registers: &mut Registers) {
    registers.rflags = registers.rflags & FLAGS_ALLOWED | FLAGS_FORCED;
    registers.cs = registers.cs & 0xffff | 3;
    registers.ss = registers.ss & 0xffff | 3;
}

/// Fills the GDT window and clears the LDT window.
pub(crate) fn load_descriptor_tables(context: &mut GuestContext) {
    descriptor_window::load(context);
}

/// Maps a page of the LDT.
pub(crate) fn map_ldt_page(context: &mut GuestContext, index: usize, page: TypedRef<Descriptor>) {
    descriptor_window::map_ldt_page(context, index, page);
}

/// The LDT page for a fault in this CPU's LDT window.
pub(crate) fn ldt_page_of_fault(address: GuestVirt) -> Option<usize> {
    descriptor_window::ldt_page_of_fault(address.get())
}

pub(crate) fn set_fs_base(context: &mut GuestContext, base: u64) {
    context.fs_base = base;
    write_base(MSR_FS_BASE, base);
}

pub(crate) fn set_gs_base(context: &mut GuestContext, kernel: bool, base: u64) {
    if kernel {
        context.gs_base_kernel = base;
    } else {
        context.gs_base_user = base;
    }
    let live = kernel == (context.in_kernel != 0);
    write_base(if live { MSR_GS_BASE } else { MSR_KERNEL_GS_BASE }, base);
}

pub(crate) fn load_user_gs_selector(context: &mut GuestContext, selector: u16) -> bool {
    let mut selectors = live_selectors(context);
    selectors.gs = selector;
    // Loading FS changes its base, which a process may have set by WRFSBASE.
    let (fs_base, ..) = live_segment_bases(context);
    // The load changes the live GS base, so that of user mode is made live around it.
    let swap = context.in_kernel != 0;
    if swap {
        swap_gs();
    }
    // SAFETY: the pointer is to selectors on the stack; a selector that faults is replaced by null.
    let refused = unsafe { entry::load_selectors(&raw const selectors) };
    if swap {
        swap_gs();
    }
    write_base(MSR_FS_BASE, fs_base);
    refused == 0
}

pub(crate) fn live_selectors(_: &GuestContext) -> Selectors {
    let (ds, es, fs, gs): (u16, u16, u16, u16);
    // SAFETY: reads segment registers.
    unsafe {
        asm!("mov {0:x}, ds", "mov {1:x}, es", "mov {2:x}, fs", "mov {3:x}, gs",
             out(reg) ds, out(reg) es, out(reg) fs, out(reg) gs, options(nomem, nostack, preserves_flags));
    }
    Selectors { ds, es, fs, gs }
}

fn clear_live_selectors() {
    // SAFETY: null selectors always load; Paravane uses no data segment except SS.
    unsafe {
        asm!("mov ds, {0:x}", "mov es, {0:x}", "mov fs, {0:x}", "mov gs, {0:x}", in(reg) 0u16,
             options(nomem, nostack, preserves_flags));
    }
}

/// The live GS base of user mode. Linux reads it at each switch between processes.
pub(crate) fn live_user_gs_base(context: &GuestContext) -> u64 {
    registers::read_msr(if context.in_kernel != 0 { MSR_KERNEL_GS_BASE } else { MSR_GS_BASE })
}

pub(crate) fn live_segment_bases(context: &GuestContext) -> (u64, u64, u64) {
    let fs = registers::read_msr(MSR_FS_BASE);
    let live = registers::read_msr(MSR_GS_BASE);
    let other = registers::read_msr(MSR_KERNEL_GS_BASE);
    if context.in_kernel != 0 { (fs, live, other) } else { (fs, other, live) }
}

fn set_task_switched_bit(set: bool) {
    let cr0 = registers::read_cr0();
    let wanted = if set { cr0 | 1 << 3 } else { cr0 & !(1 << 3) };
    if wanted != cr0 {
        // SAFETY: TS only makes the use of extended state trap; Paravane's code does not use it.
        unsafe { registers::write_cr0(wanted) };
    }
}

pub(crate) fn load_task_switched(context: &GuestContext) {
    set_task_switched_bit(context.task_switched);
}

/// Loads the bits of CR4 that the guest has chosen, if they differ: writing the register is slow,
/// and most guests choose the same bits.
pub(crate) fn load_control4(context: &GuestContext) {
    let current = registers::read_cr4();
    let wanted = current & !CONTROL4_LOADED | context.control4 & CONTROL4_LOADED;
    if wanted != current {
        // SAFETY: changes only ring 3's access to the TSC and to segment bases.
        unsafe { registers::write_cr4(wanted) };
    }
}

/// How SPEC_CTRL is used while guests run.
pub(crate) fn guest_spec_ctrl() -> GuestSpecCtrl {
    defences::report().guest_spec_ctrl()
}

/// Discards branch predictions.
pub(crate) fn discard_predictions() {
    if defences::report().facts.has_ibpb() {
        counters::count(Counter::PredictionBarriers);
        // SAFETY: discards predictions only; the processor has the barrier.
        unsafe { registers::write_msr(msr::PRED_CMD, msr::PREDICTION_BARRIER) };
    }
}

pub(crate) fn set_xcr0(context: &mut GuestContext, value: u64) -> bool {
    context.extended.set_xcr0(value)
}

/// Flushes a page. Both of a vCPU's roots cache it under the same tag, since no PCID is in use.
pub(crate) fn flush_page(_: &mut GuestContext, address: GuestVirt) {
    registers::invalidate_page(address.get());
}

/// Runs `act` while ring 0 may access user pages.
fn with_user_access<T>(act: impl FnOnce() -> T) -> T {
    if !processor::smap() {
        return act();
    }
    // SAFETY: only sets the flag that allows access to user pages, during the copy.
    unsafe { asm!("stac", options(nostack)) };
    let result = act();
    // SAFETY: as above.
    unsafe { asm!("clac", options(nostack)) };
    result
}

/// Copies from the live address space; returns the number of bytes copied.
pub(crate) fn copy_from_guest(_: &GuestContext, from: GuestVirt, to: &mut [u8]) -> usize {
    if !from.is_guest_range(to.len() as u64) {
        return 0;
    }
    // SAFETY: the source is in guest space, which contains no Rust object, and may fault. The
    // target is exclusively borrowed.
    let left = with_user_access(|| unsafe { entry::guest_copy(to.as_mut_ptr(), from.masked() as *const u8, to.len()) });
    to.len() - left
}

/// Copies into the live address space; returns the number of bytes copied.
pub(crate) fn copy_to_guest(_: &GuestContext, to: GuestVirt, from: &[u8]) -> usize {
    if !to.is_guest_range(from.len() as u64) {
        return 0;
    }
    // SAFETY: the target is in guest space, which contains no Rust object, and may fault. Write
    // protection applies to ring 0 too (CR0.WP), so no page table is written. The source is
    // borrowed.
    let left = with_user_access(|| unsafe { entry::guest_copy(to.masked() as *mut u8, from.as_ptr(), from.len()) });
    from.len() - left
}
