#![expect(unsafe_code, reason = "the interrupt table and its entry points")]
//! The interrupt table, and what happens to traps that hit Paravane itself: fixed up if the exception table says how,
//! otherwise the end of the host.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use super::cpu_info::{self, CpuInfo};
use super::{debug_registers, interrupts, layout, panic, windows};
use crate::context::{GuestContext, Registers};

const DEBUG: u64 = 1;
const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const MACHINE_CHECK: u64 = 18;

/// Two words a gate. All CPUs share the table; it is filled before any other CPU starts.
static IDT: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

global_asm!(
    include_str!("traps.S"),
    host_trap = sym host_trap,
    window_mask = const -(layout::PER_CPU_SIZE as i64),
    registers_end = const cpu_info::OFFSET as usize + offset_of!(CpuInfo, registers_end),
    context = const cpu_info::OFFSET as usize + offset_of!(CpuInfo, context),
    host_stack = const offset_of!(GuestContext, host_stack),
    options(att_syntax)
);

/// Fills the table: interrupt gates, of which ring 3 may raise only breakpoint, overflow and the old system call.
pub(crate) fn fill_table() {
    unsafe extern "C" {
        static trap_stubs: u8;
    }
    let stubs = (&raw const trap_stubs) as u64;
    for vector in 0..256u64 {
        let address = stubs + vector * 16;
        let privilege = if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 };
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
        IDT[vector as usize * 2].store(low, Ordering::Relaxed);
        IDT[vector as usize * 2 + 1].store(address >> 32, Ordering::Relaxed);
    }
}

/// Loads the table on this CPU.
pub(crate) fn load_table() {
    let pointer = DescriptorTable { limit: size_of_val(&IDT) as u16 - 1, base: IDT.as_ptr() as u64 };
    // SAFETY: the table has been filled with gates to valid stubs and lives for ever.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(readonly, nostack, preserves_flags)) };
}

/// Operand of LGDT and LIDT.
#[repr(C, packed)]
pub(crate) struct DescriptorTable {
    pub(crate) limit: u16,
    pub(crate) base: u64,
}

/// Called by the stubs with the registers of what was interrupted.
extern "C" fn host_trap(registers: &mut Registers) {
    match registers.vector {
        // A guest's data breakpoint can hit while its memory is copied; nothing of Paravane's can
        // be watched. No vCPU is told.
        DEBUG => debug_registers::clear_status(),
        NMI => panic::on_nmi(registers),
        vector @ 32..=255 if registers.cs & 3 == 0 => interrupts::host_interrupt(vector as u8),
        vector => match fixup(registers.rip) {
            Some(fixup) if !matches!(vector, DOUBLE_FAULT | MACHINE_CHECK) => {
                cpu_info::note_host_fault(vector, registers.error_code);
                registers.rip = fixup;
            }
            _ => panic::on_trap(registers),
        },
    }
}

/// Where to go on after a fault at `rip`, if that was foreseen. Entries are pairs of offsets relative to themselves.
fn fixup(rip: u64) -> Option<u64> {
    let (start, end) = (layout::ex_table_start(), layout::ex_table_end());
    let words = ((end - start) / 4) as usize;
    // SAFETY: the linker puts the table between the two symbols, in read-only data; it consists of 32-bit words.
    let table = unsafe { core::slice::from_raw_parts(start as *const i32, words) };
    let target = |index: usize| {
        Some((&raw const *table.get(index)?) as u64).map(|at| at.wrapping_add_signed(table[index].into()))
    };
    (0..words / 2).find(|&pair| target(pair * 2) == Some(rip)).and_then(|pair| target(pair * 2 + 1))
}
