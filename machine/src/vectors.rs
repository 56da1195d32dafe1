//! Interrupt vectors by name (Intel SDM volume 3, 6.3.1): the exceptions, Paravane's own vectors,
//! and the range for devices.

use core::ops::RangeInclusive;

/// Debug exception (#DB).
pub const DEBUG: u8 = 1;
/// Non-maskable interrupt.
pub const NMI: u8 = 2;
/// Breakpoint (#BP).
pub const BREAKPOINT: u8 = 3;
/// Overflow (#OF).
pub const OVERFLOW: u8 = 4;
/// Invalid opcode (#UD).
pub const INVALID_OPCODE: u8 = 6;
/// Device not available (#NM).
pub const DEVICE_NOT_AVAILABLE: u8 = 7;
/// Double fault (#DF).
pub const DOUBLE_FAULT: u8 = 8;
/// General protection fault (#GP).
pub const GENERAL_PROTECTION: u8 = 13;
/// Page fault (#PF).
pub const PAGE_FAULT: u8 = 14;
/// Machine check (#MC).
pub const MACHINE_CHECK: u8 = 18;
/// The last vector that the architecture reserves for exceptions.
pub const LAST_EXCEPTION: u8 = 31;
/// The software interrupt that guests use for 32-bit system calls.
pub const LEGACY_SYSCALL: u8 = 0x80;

/// Bits of the error code of a page fault (Intel SDM volume 3, 4.7).
pub mod page_fault {
    /// All entries on the way were present.
    pub const PRESENT: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The access was one of ring 3.
    pub const USER: u32 = 1 << 2;
    /// An entry had a reserved bit set.
    pub const RESERVED: u32 = 1 << 3;
    /// The access was an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
}

/// Vectors for devices: above the exceptions and the legacy interrupt controllers, below Paravane's
/// own.
pub(crate) const DEVICES: RangeInclusive<u8> = 0x30..=0xef;
/// This CPU's timer.
#[cfg(target_os = "none")]
pub(crate) const TIMER: u8 = 0xf0;
/// Another CPU called `cpu::kick`.
#[cfg(target_os = "none")]
pub(crate) const KICK: u8 = 0xf1;
/// Another CPU requests a flush.
#[cfg(target_os = "none")]
pub(crate) const FLUSH: u8 = 0xf2;
/// A serial port.
#[cfg(target_os = "none")]
pub(crate) const SERIAL: u8 = 0xf3;
/// The local APIC reports an error.
#[cfg(target_os = "none")]
pub(crate) const APIC_ERROR: u8 = 0xfe;
/// A spurious interrupt of the local APIC, which is not acknowledged.
#[cfg(target_os = "none")]
pub(crate) const SPURIOUS: u8 = 0xff;
