//! General registers, selectors and flags of a vCPU.

/// General registers and the trap frame, in the order in which the entry code and the processor
/// push them.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Registers {
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
    /// The cause of the exit: a vector, or one of the entry code's own numbers from 256 on.
    pub vector: u64,
    /// The exception's error code, if it has one.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

const _: () = assert!(size_of::<Registers>().is_multiple_of(16), "the processor aligns the stack before it pushes");

/// Data segment selectors; live in the processor while the vCPU is active.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub struct Selectors {
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
    pub gs: u16,
}

/// The privilege level in a code segment selector.
#[cfg(target_os = "none")]
pub(crate) const PRIVILEGE_MASK: u64 = 3;
/// The flag of virtual 8086 mode.
#[cfg(target_os = "none")]
pub(crate) const VIRTUAL_8086: u64 = 1 << 17;
/// The bit number of the interrupt enable flag.
#[cfg(target_os = "none")]
pub(crate) const INTERRUPT_FLAG_BIT: u32 = 9;
/// Flags that a guest may set: carry, parity, adjust, zero, sign, trap, direction, overflow,
/// resume, alignment check, identification.
#[cfg(target_os = "none")]
pub(crate) const FLAGS_ALLOWED: u64 = 0x0025_0dd5;
/// Interrupts enabled, and the bit that is always one.
#[cfg(target_os = "none")]
pub(crate) const FLAGS_FORCED: u64 = 0x202;
/// Flags that are cleared on entry to a guest's handler: trap, nested task, resume, virtual 8086,
/// alignment check.
pub const FLAGS_CLEARED_ON_BOUNCE: u64 = 1 << 8 | 1 << 14 | 1 << 16 | 1 << 17 | 1 << 18;

/// Whether an address is canonical with 48-bit translation.
pub const fn is_canonical(address: u64) -> bool {
    address.wrapping_add(1 << 47) < 1 << 48
}

/// The address, or zero if it is not canonical.
pub(super) const fn canonical_or_zero(address: u64) -> u64 {
    if is_canonical(address) { address } else { 0 }
}
