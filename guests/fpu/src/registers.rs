//! All FPU registers as a value. The compiler does not use them for code of this target.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use kernel::start::vcpu;

static WIDE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Includes the upper halves of this vCPU's vector registers from now on.
pub(crate) fn set_wide(wide: bool) {
    WIDE[vcpu()].store(u64::from(wide), SeqCst);
}

pub(crate) fn wide() -> bool {
    WIDE[vcpu()].load(SeqCst) != 0
}

/// Image of FXSAVE, and the upper halves of YMM0 to YMM15.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    fx: [u64; 64],
    high: [u64; 32],
}

/// Index in the image of the first x87 register and the first XMM register.
const X87: usize = 4;
const XMM: usize = 20;

impl Registers {
    const fn zero() -> Self {
        Self { fx: [0; 64], high: [0; 32] }
    }

    /// A pattern derived from `base` in each register.
    pub(crate) fn pattern(base: u64) -> Self {
        let mut registers = Self::zero();
        // Control word, all x87 registers in use, MXCSR with a rounding mode derived from `base`.
        registers.fx[0] = 0x00ff_0000_037f | (base & 3) << 10;
        registers.fx[3] = 0x1f80 | (base & 3) << 13;
        let mut seed = base.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed
        };
        for register in 0..8 {
            registers.fx[X87 + register * 2] = next() | 1 << 63;
            registers.fx[X87 + register * 2 + 1] = 0x3fff;
        }
        for word in &mut registers.fx[XMM..XMM + 32] {
            *word = next();
        }
        for word in &mut registers.high {
            *word = next();
        }
        registers
    }

    /// The number of words that differ.
    pub(crate) fn differences(&self, other: &Self) -> u64 {
        let mut count = u64::from(self.fx[0] & 0xff_0000_ffff != other.fx[0] & 0xff_0000_ffff);
        count += u64::from(self.fx[3] & 0xffff != other.fx[3] & 0xffff);
        count += (X87..XMM + 32).filter(|&at| self.fx[at] != other.fx[at]).count() as u64;
        if wide() {
            count += (0..32).filter(|&at| self.high[at] != other.high[at]).count() as u64;
        }
        count
    }
}

/// The number of words that differ from the FPU's reset state.
pub(crate) fn clean(registers: &Registers) -> u64 {
    let mut due = Registers::zero();
    due.fx[0] = 0x37f;
    due.fx[3] = 0x1f80;
    due.differences(registers)
}

pub(crate) fn load(registers: &Registers) {
    // SAFETY: the image is valid and aligned.
    unsafe { asm!("fxrstor64 [{}]", in(reg) registers.fx.as_ptr()) };
    if wide() {
        // SAFETY: reads the 512 bytes of the upper halves; AVX is on.
        unsafe {
            asm!(
                "vinsertf128 ymm0, ymm0, [{0}], 1",
                "vinsertf128 ymm1, ymm1, [{0} + 16], 1",
                "vinsertf128 ymm2, ymm2, [{0} + 32], 1",
                "vinsertf128 ymm3, ymm3, [{0} + 48], 1",
                "vinsertf128 ymm4, ymm4, [{0} + 64], 1",
                "vinsertf128 ymm5, ymm5, [{0} + 80], 1",
                "vinsertf128 ymm6, ymm6, [{0} + 96], 1",
                "vinsertf128 ymm7, ymm7, [{0} + 112], 1",
                "vinsertf128 ymm8, ymm8, [{0} + 128], 1",
                "vinsertf128 ymm9, ymm9, [{0} + 144], 1",
                "vinsertf128 ymm10, ymm10, [{0} + 160], 1",
                "vinsertf128 ymm11, ymm11, [{0} + 176], 1",
                "vinsertf128 ymm12, ymm12, [{0} + 192], 1",
                "vinsertf128 ymm13, ymm13, [{0} + 208], 1",
                "vinsertf128 ymm14, ymm14, [{0} + 224], 1",
                "vinsertf128 ymm15, ymm15, [{0} + 240], 1",
                in(reg) registers.high.as_ptr(),
            );
        }
    }
}

pub(crate) fn store() -> Registers {
    let mut registers = Registers::zero();
    // SAFETY: the image has room and is aligned.
    unsafe { asm!("fxsave64 [{}]", in(reg) registers.fx.as_mut_ptr()) };
    if wide() {
        // SAFETY: writes 256 bytes of the upper halves; AVX is on.
        unsafe {
            asm!(
                "vextractf128 [{0}], ymm0, 1",
                "vextractf128 [{0} + 16], ymm1, 1",
                "vextractf128 [{0} + 32], ymm2, 1",
                "vextractf128 [{0} + 48], ymm3, 1",
                "vextractf128 [{0} + 64], ymm4, 1",
                "vextractf128 [{0} + 80], ymm5, 1",
                "vextractf128 [{0} + 96], ymm6, 1",
                "vextractf128 [{0} + 112], ymm7, 1",
                "vextractf128 [{0} + 128], ymm8, 1",
                "vextractf128 [{0} + 144], ymm9, 1",
                "vextractf128 [{0} + 160], ymm10, 1",
                "vextractf128 [{0} + 176], ymm11, 1",
                "vextractf128 [{0} + 192], ymm12, 1",
                "vextractf128 [{0} + 208], ymm13, 1",
                "vextractf128 [{0} + 224], ymm14, 1",
                "vextractf128 [{0} + 240], ymm15, 1",
                in(reg) registers.high.as_mut_ptr(),
            );
        }
    }
    registers
}

pub(crate) fn cr4() -> u64 {
    let value;
    // SAFETY: an emulated read.
    unsafe { asm!("mov {}, cr4", out(reg) value) };
    value
}

pub(crate) fn cr0() -> u64 {
    let value;
    // SAFETY: an emulated read.
    unsafe { asm!("mov {}, cr0", out(reg) value) };
    value
}

pub(crate) fn xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads XCR0; OSXSAVE is on.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}
