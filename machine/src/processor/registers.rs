#![expect(unsafe_code, reason = "single privileged instructions")]
//! Wrappers of single instructions. Reading is safe. Writing is `unsafe` if the value affects the
//! meaning of memory.

use core::arch::asm;

use super::msr;
use crate::counters::{self, Counter};
use crate::integers::low_u32;

/// Operand of LGDT and LIDT.
#[repr(C, packed)]
pub(crate) struct DescriptorTable {
    pub(crate) limit: u16,
    pub(crate) base: u64,
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name() -> u64 {
            let value: u64;
            // SAFETY: reading this register has no effect on memory or on the program.
            unsafe { asm!($text, out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }
    )* };
}

readers! {
    /// Control register 0.
    read_cr0 = "mov {}, cr0";
    /// Address of the last page fault.
    read_cr2 = "mov {}, cr2";
    /// Root table and PCID.
    read_cr3 = "mov {}, cr3";
    /// Control register 4.
    read_cr4 = "mov {}, cr4";
    /// Frame pointer.
    frame_pointer = "mov {}, rbp";
}

macro_rules! writers {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => { $(
        $(#[$doc])*
        ///
        /// # Safety
        /// The value must keep all memory that Rust code uses mapped as before.
        pub(crate) unsafe fn $name(value: u64) {
            // SAFETY: guaranteed by the caller.
            unsafe { asm!($text, in(reg) value, options(nostack, preserves_flags)) };
        }
    )* };
}

writers! {
    /// Sets control register 0.
    write_cr0 = "mov cr0, {}";
    /// Sets the root table and PCID.
    write_cr3 = "mov cr3, {}";
    /// Sets control register 4.
    write_cr4 = "mov cr4, {}";
}

/// Reads a model-specific register that is known to exist.
pub(crate) fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading an MSR does not change memory. One that does not exist faults, which ends in
    // a panic.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The value must not violate an assumption of Rust code.
pub(crate) unsafe fn write_msr(number: u32, value: u64) {
    counters::count(Counter::MsrWrites);
    let (low, high) = (low_u32(value), low_u32(value >> 32));
    // SAFETY: guaranteed by the caller.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") low, in("edx") high, options(nostack, preserves_flags));
    }
}

/// An instruction that is skipped if it faults, for `asm!`. `faulted` starts as 1 and becomes 0 if
/// it does not fault.
macro_rules! skipped_if_it_faults {
    ($instruction:literal) => {
        concat!(
            "2: ",
            $instruction,
            "\nxor {faulted:e}, {faulted:e}\n3:\n",
            ".pushsection .ex_table, \"a\"\n.long 2b - .\n.long 3b - .\n.popsection",
        )
    };
}

/// Reads a model-specific register. Returns `None` if that faults.
pub(crate) fn try_read_msr(number: u32) -> Option<u64> {
    let (low, high, faulted): (u32, u32, u32);
    // SAFETY: reading an MSR does not change memory. After a fault, execution continues at the end
    // with all registers as they were.
    unsafe {
        asm!(
            skipped_if_it_faults!("rdmsr"),
            faulted = inout(reg) 1u32 => faulted,
            in("ecx") number,
            inout("eax") 0u32 => low,
            inout("edx") 0u32 => high,
            options(nomem, nostack),
        );
    }
    (faulted == 0).then(|| u64::from(high) << 32 | u64::from(low))
}

/// Writes a model-specific register. Returns `false` if that faults.
///
/// # Safety
/// As [`write_msr`].
pub(crate) unsafe fn try_write_msr(number: u32, value: u64) -> bool {
    let faulted: u32;
    let (low, high) = (low_u32(value), low_u32(value >> 32));
    // SAFETY: guaranteed by the caller. After a fault, execution continues at the end with all
    // registers as they were.
    unsafe {
        asm!(
            skipped_if_it_faults!("wrmsr"),
            faulted = inout(reg) 1u32 => faulted,
            in("ecx") number,
            in("eax") low,
            in("edx") high,
            options(nostack),
        );
    }
    faulted == 0
}

/// Writes SPEC_CTRL. The processor must have the bits that are set.
pub(crate) fn write_spec_ctrl(value: u64) {
    // SAFETY: the register restricts predictions only.
    unsafe { write_msr(msr::SPEC_CTRL, value) };
}

/// Writes back and invalidates the caches.
pub(crate) fn wbinvd() {
    // SAFETY: writes cached data to memory, which the program cannot observe.
    unsafe { asm!("wbinvd", options(nostack, preserves_flags)) };
}

/// Reads a byte from an I/O port.
pub(crate) fn port_read8(port: u16) -> u8 {
    let value: u8;
    // SAFETY: Paravane programs by ports no device that could write to its memory. Reading changes
    // only device state.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a byte to an I/O port of a device without DMA.
pub(crate) fn port_write8(port: u16, value: u8) {
    // SAFETY: the ports used (serial, interrupt controller, timer, RTC, reset) belong to devices
    // without DMA.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a word from an I/O port.
pub(crate) fn port_read16(port: u16) -> u16 {
    let value: u16;
    // SAFETY: as in `port_read8`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a word to an I/O port of a device without DMA.
pub(crate) fn port_write16(port: u16, value: u16) {
    // SAFETY: as in `port_write8`; word ports are the power management registers.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) };
}

/// Reads a double word from an I/O port.
pub(crate) fn port_read32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as in `port_read8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Writes a double word to an I/O port.
pub(crate) fn port_write32(port: u16, value: u32) {
    // SAFETY: Paravane itself writes double words only to the address register of PCI configuration
    // space. The hardware domain is trusted with the values that it writes.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) };
}

/// The time-stamp counter, read after all earlier loads.
pub(crate) fn read_tsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// The time-stamp counter, unordered with respect to the instructions around it.
#[inline]
pub(crate) fn read_tsc_unordered() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// CPUID; returns eax, ebx, ecx, edx.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// Flushes the translation of one page on this CPU.
pub(crate) fn invalidate_page(address: u64) {
    counters::count(Counter::PageFlushes);
    // SAFETY: flushing a cached translation only makes the CPU walk the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Enables the extended states of `mask`.
///
/// # Safety
/// The mask must be legal on this CPU and CR4.OSXSAVE set.
pub(crate) unsafe fn write_xcr0(mask: u64) {
    let (low, high) = (low_u32(mask), low_u32(mask >> 32));
    // SAFETY: guaranteed by the caller; Paravane's own code does not use extended state.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nomem, nostack)) };
}

/// Enables interrupts, so that pending ones are accepted, then disables them again.
///
/// # Safety
/// This CPU's interrupt table must be loaded and no lock held that a handler takes.
pub(crate) unsafe fn open_for_interrupts() {
    // SAFETY: interrupts are accepted after the instruction that follows STI, the NOP. The caller
    // guarantees handlers and locks.
    unsafe { asm!("sti", "nop", "cli") };
}

/// Stops this CPU permanently.
pub(crate) fn halt_forever() -> ! {
    loop {
        // SAFETY: interrupts stay disabled, so nothing runs after this.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
