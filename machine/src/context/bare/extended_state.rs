#![expect(unsafe_code, reason = "saves and restores the extended processor state")]
//! x87, SSE, AVX and AVX-512 state of a vCPU. All supported states are saved and restored whenever
//! a vCPU leaves or enters a pCPU, whether or not the guest has enabled them, so no guest sees
//! another guest's state.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::context::extended_state::{ExtendedState, xcr0_is_legal};
use crate::integers::low_u32;
use crate::processor::registers;

/// States that fit the area: x87, SSE, AVX, and the three of AVX-512.
const SUPPORTED: u64 = 0xe7;

/// `supported()`, once it has been determined; bit 63 marks it valid.
static CACHED: AtomicU64 = AtomicU64::new(0);

/// The states that this processor can save and restore here; zero if it has only FXSAVE.
pub(crate) fn supported() -> u64 {
    let cached = CACHED.load(Ordering::Relaxed);
    if cached != 0 {
        return cached & !(1 << 63);
    }
    let has_xsave = registers::cpuid(1, 0)[2] & 1 << 26 != 0;
    let states = if has_xsave { u64::from(registers::cpuid(0xd, 0)[0]) & SUPPORTED } else { 0 };
    CACHED.store(states | 1 << 63, Ordering::Relaxed);
    states
}

impl ExtendedState {
    /// Enables states of the active vCPU. Returns `false` if they are not supported or the
    /// combination is illegal (Intel SDM volume 1, 13.3).
    pub(crate) fn set_xcr0(&mut self, value: u64) -> bool {
        let legal = xcr0_is_legal(value);
        if legal {
            self.xcr0 = value;
            // SAFETY: the value is legal and the processor has XSAVE, otherwise `supported` would
            // be zero.
            unsafe { registers::write_xcr0(value) };
        }
        legal
    }

    /// Restores the state into the processor.
    pub(crate) fn load(&self) {
        // AMD processors restore the addresses of the last x87 instruction and operand only if an
        // exception is pending. Without this instruction the guest would see those of another
        // guest. SAFETY: only x87 state changes, all of which is restored below.
        unsafe { asm!("fninit", options(nomem, nostack)) };
        if supported() == 0 {
            // SAFETY: the area is 64-byte aligned, long enough, and contains the output of `new`,
            // FXSAVE or `set_image`.
            return unsafe { asm!("fxrstor64 [{}]", in(reg) &self.area, options(nostack)) };
        }
        // SAFETY: the mask is supported by the processor.
        unsafe { registers::write_xcr0(supported()) };
        // SAFETY: the area is 64-byte aligned, long enough for the mask, and contains the output of
        // `new`, XSAVE or `set_image`.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) &self.area, in("eax") low_u32(supported()), in("edx") 0, options(nostack));
        }
        if self.xcr0 != supported() {
            // SAFETY: `set_xcr0` has checked the value; 1 is always legal.
            unsafe { registers::write_xcr0(self.xcr0) };
        }
    }

    /// Saves the processor's state.
    pub(crate) fn save(&mut self) {
        if supported() == 0 {
            // SAFETY: the area is 64-byte aligned and long enough.
            return unsafe { asm!("fxsave64 [{}]", in(reg) &mut self.area, options(nostack)) };
        }
        if self.xcr0 != supported() {
            // SAFETY: the mask is supported by the processor.
            unsafe { registers::write_xcr0(supported()) };
        }
        // SAFETY: the area is 64-byte aligned and long enough for the mask.
        unsafe {
            asm!("xsave64 [{}]", in(reg) &mut self.area, in("eax") low_u32(supported()), in("edx") 0, options(nostack));
        }
    }
}
