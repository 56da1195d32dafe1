#![expect(unsafe_code, reason = "the interrupt table and its entry points")]
//! The interrupt table, and traps in Paravane itself. A trap with an entry in the exception table
//! continues at its fixup; any other stops the host.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::addr::CpuId;
use crate::address_space::windows;
use crate::context::entry::Feature;
use crate::context::{GuestContext, PRIVILEGE_MASK, Registers, VIRTUAL_8086};
use crate::exception_table::{self, Entry};
use crate::integers::{low_u8, low_u16, to_usize};
use crate::per_cpu::{self, CpuInfo, RESTRICTED_ROOTS_SIZE};
use crate::processor::debug_registers;
use crate::processor::msr;
use crate::processor::registers::{self, DescriptorTable};
use crate::{idle, interrupt_dispatch, layout, panic, processor, vectors};

const DEBUG: u64 = vectors::DEBUG as u64;
const NMI: u64 = vectors::NMI as u64;
const DOUBLE_FAULT: u64 = vectors::DOUBLE_FAULT as u64;
const MACHINE_CHECK: u64 = vectors::MACHINE_CHECK as u64;

/// The vectors that ring 3 may raise by software interrupts.
const RAISED_BY_GUESTS: [u64; 3] =
    [vectors::BREAKPOINT as u64, vectors::OVERFLOW as u64, vectors::LEGACY_SYSCALL as u64];

/// Two words per gate. Restricted roots map the page.
#[repr(align(4096))]
struct InterruptTable([AtomicU64; 512]);

/// All CPUs share the table; it is filled before any other CPU starts.
static IDT: InterruptTable = InterruptTable([const { AtomicU64::new(0) }; 512]);

/// The page of the interrupt table.
pub(crate) fn interrupt_table() -> u64 {
    (&raw const IDT) as u64
}

/// Offset of a field of `Registers` in the frame pushed by a stub, which begins with the vector.
macro_rules! frame_offset {
    ($field:ident) => {
        offset_of!(Registers, $field) - offset_of!(Registers, vector)
    };
}

// The word counts passed to `move_to_stack`.
const _: () = assert!(size_of::<Registers>() - offset_of!(Registers, rip) == 5 * 8);
const _: () = assert!(size_of::<Registers>() - offset_of!(Registers, vector) == 7 * 8);

global_asm!(
    include_str!("../processor/trap_macros.S"),
    include_str!("traps.S"),
    host_trap = sym host_trap,
    nmi = const vectors::NMI,
    debug = const vectors::DEBUG,
    double_fault = const vectors::DOUBLE_FAULT,
    machine_check = const vectors::MACHINE_CHECK,
    frame_rip = const frame_offset!(rip),
    frame_cs = const frame_offset!(cs),
    frame_rflags = const frame_offset!(rflags),
    privilege_mask = const PRIVILEGE_MASK,
    virtual_8086 = const VIRTUAL_8086,
    window_mask = const -layout::PER_CPU_SIZE.cast_signed(),
    registers_end = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, registers_end),
    context = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, context),
    entry_stack = const offset_of!(GuestContext, entry_stack),
    restricted_roots = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, restricted_roots),
    restricted_roots_mask = const -RESTRICTED_ROOTS_SIZE.cast_signed(),
    own_spec_ctrl = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, own_spec_ctrl),
    clear_history = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, clear_history),
    clear_history_site = const Feature::ClearHistory as u32,
    history_short = const Feature::HistoryShort as u32,
    history_long = const Feature::HistoryLong as u32,
    history_transaction = const Feature::HistoryTransaction as u32,
    msr_spec_ctrl = const msr::SPEC_CTRL,
    spec_ctrl = const Feature::SpecCtrl as u32,
    own_root = const to_usize(per_cpu::OFFSET) + offset_of!(CpuInfo, own_root),
);

/// Prepares the tables that all CPUs share: the exception table, and the interrupt table, in which
/// ring 3 may raise only breakpoint, overflow and the legacy system call.
///
/// # Safety
/// No other CPU and no guest may be running.
pub(crate) unsafe fn prepare() {
    // SAFETY: the caller guarantees the same condition.
    unsafe { sort_exception_table() };
    fill_table();
}

#[expect(clippy::indexing_slicing, reason = "two words for each vector")]
fn fill_table() {
    unsafe extern "C" {
        static trap_stubs: u8;
    }
    let stubs = (&raw const trap_stubs) as u64;
    for vector in 0..256u64 {
        let address = stubs + vector * 16;
        let privilege = if RAISED_BY_GUESTS.contains(&vector) { 3 } else { 0 };
        let stack = match vector {
            NMI => windows::STACK_NMI,
            MACHINE_CHECK => windows::STACK_MACHINE_CHECK,
            DOUBLE_FAULT => windows::STACK_DOUBLE_FAULT,
            DEBUG => windows::STACK_DEBUG,
            _ => 0,
        };
        let low = address & 0xffff
            | u64::from(windows::CODE64) << 16
            | stack << 32
            | (0x8e | privilege << 5) << 40
            | (address >> 16 & 0xffff) << 48;
        IDT.0[to_usize(vector) * 2].store(low, Ordering::Relaxed);
        IDT.0[to_usize(vector) * 2 + 1].store(address >> 32, Ordering::Relaxed);
    }
}

/// Loads the table on this CPU.
fn load_table() {
    let pointer = DescriptorTable { limit: low_u16(size_of_val(&IDT) as u64) - 1, base: interrupt_table() };
    // SAFETY: the table has been filled with gates to valid stubs and is static.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Prepares this CPU for entries: descriptor tables, interrupt table, system-call entries.
pub(crate) fn load(cpu: CpuId) {
    windows::load_segments(cpu);
    load_table();
    load_system_call_entries(cpu);
}

fn load_system_call_entries(cpu: CpuId) {
    let entry_at = |symbol: u64| windows::base(cpu) + (symbol - layout::entry_page());
    let set = |number, value| {
        // SAFETY: the entry points are in the entry page of this CPU's window, and the selectors in
        // its GDT.
        unsafe { registers::write_msr(number, value) };
    };
    let features = processor::features();
    unsafe extern "C" {
        static entry_syscall: u8;
        static entry_syscall32: u8;
        static entry_sysenter: u8;
    }
    set(msr::STAR, u64::from(windows::CODE64) << 32 | u64::from(windows::USER_CODE32) << 48);
    set(msr::LSTAR, entry_at((&raw const entry_syscall) as u64));
    set(msr::CSTAR, entry_at((&raw const entry_syscall32) as u64));
    // Flags that are cleared on entry: trap, interrupt, direction, I/O privilege, nested task,
    // resume, alignment check.
    set(msr::SFMASK, 0x5_7700);
    if features.sysenter {
        set(msr::SYSENTER_CS, windows::CODE64.into());
        set(msr::SYSENTER_ESP, windows::main_stack_top(cpu));
        set(msr::SYSENTER_EIP, entry_at((&raw const entry_sysenter) as u64));
    }
}

/// Called by the stubs with the registers of the interrupted code.
extern "C" fn host_trap(registers: &mut Registers) {
    match registers.vector {
        // A guest's data breakpoint can be hit while its memory is copied; Paravane's own memory
        // cannot be watched. The exception is not reported to a vCPU.
        DEBUG => debug_registers::clear_status(),
        NMI => panic::on_nmi(registers),
        vector @ 32..=255 if registers.cs & PRIVILEGE_MASK == 0 => {
            interrupt_dispatch::host_interrupt(low_u8(vector));
            registers.rip = idle::skip_halt(registers.rip);
        }
        vector => match fixup(registers.rip) {
            Some(fixup) if !matches!(vector, DOUBLE_FAULT | MACHINE_CHECK) => {
                per_cpu::note_host_fault(vector, registers.error_code);
                registers.rip = fixup;
            }
            _ => panic::on_trap(registers),
        },
    }
}

/// The number of entries of the exception table.
fn exception_table_length() -> usize {
    to_usize(layout::ex_table_end() - layout::ex_table_start()) / size_of::<Entry>()
}

/// Sorts the exception table.
///
/// # Safety
/// No other CPU and no guest may be running.
unsafe fn sort_exception_table() {
    let writable = layout::direct(layout::ex_table_start() - layout::IMAGE_OFFSET) as *mut Entry;
    // SAFETY: the linker places the table, which consists of entries, between the two symbols. The
    // direct map maps the image writable, and nothing else reads the table now.
    let table = unsafe { core::slice::from_raw_parts_mut(writable, exception_table_length()) };
    exception_table::sort(table);
}

/// The fixup address of a fault at `rip`, if the exception table has an entry for it. Entry code
/// that faulted in a window continues in the image.
fn fixup(rip: u64) -> Option<u64> {
    let rip = windows::address_in_image(rip);
    let start = layout::ex_table_start();
    // SAFETY: the linker places the table, which consists of entries, between the two symbols, in
    // read-only data. Nothing writes to it after boot.
    let table = unsafe { core::slice::from_raw_parts(start as *const Entry, exception_table_length()) };
    exception_table::find(table, start, rip)
}
