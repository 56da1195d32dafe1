#![expect(unsafe_code, reason = "sets control registers")]
//! Detection of the processor's features, and enabling those that Paravane uses. All CPUs are
//! assumed to be identical.

use core::sync::atomic::{AtomicBool, Ordering};

use super::registers::{self, cpuid};
use super::{Features, debug_registers, msr};
use crate::once::Once;

static FEATURES: Once<Features> = Once::new();
// Read at each copy of guest memory and for each page-table entry.
static SMAP: AtomicBool = AtomicBool::new(false);
static GLOBAL_PAGES: AtomicBool = AtomicBool::new(true);
static NO_EXECUTE: AtomicBool = AtomicBool::new(false);

/// PG, AM, WP, NE, ET, MP, PE.
const CR0: u64 = 1 << 31 | 1 << 18 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1 << 0;
const CR4_DEBUG_EXTENSIONS: u64 = 1 << 3;
const CR4_PAE: u64 = 1 << 5;
const CR4_MACHINE_CHECK: u64 = 1 << 6;
const CR4_GLOBAL_PAGES: u64 = 1 << 7;
const CR4_SSE: u64 = 1 << 9 | 1 << 10;
const CR4_UMIP: u64 = 1 << 11;
const CR4_XSAVE: u64 = 1 << 18;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;

const EFER: u64 = 1 << 0 | 1 << 8 | 1 << 10; // SYSCALL, long mode
const EFER_NO_EXECUTE: u64 = 1 << 11;

/// Write-back, write-through, UC-, UC, write-combining, write-protected, UC, UC: the meaning of
/// page attributes in the interface.
const PAT: u64 = 0x0000_0501_0007_0406;

/// x87, SSE, AVX and the three AVX-512 states.
const XCR0_USED: u64 = 0xe7;

/// The processors' features.
pub fn features() -> &'static Features {
    FEATURES.get()
}

/// Whether ring 0 must enable access to user pages (SMAP).
#[inline]
pub(crate) fn smap() -> bool {
    SMAP.load(Ordering::Relaxed)
}

/// Whether page-table entries may have the no-execute bit.
#[inline]
pub(crate) fn no_execute() -> bool {
    NO_EXECUTE.load(Ordering::Relaxed)
}

/// Whether QEMU emulates the processor. In QEMU 7.2, IRET and far RET in ring 3 read the stack with
/// the privileges of ring 0. With SMAP enabled, a guest's IRET would therefore fault.
fn is_emulated() -> bool {
    let [_, b, c, d] = cpuid(0x4000_0000, 0);
    let is_virtual = cpuid(1, 0)[2] & 1 << 31 != 0;
    // There is no heap yet to allocate the name.
    is_virtual
        && [b, c, d] == [u32::from_le_bytes(*b"TCGT"), u32::from_le_bytes(*b"CGTC"), u32::from_le_bytes(*b"GTCG")]
}

/// Makes translations of Paravane's memory end with a root switch, on this CPU and on those that
/// are started later.
pub(crate) fn forget_global_pages() {
    GLOBAL_PAGES.store(false, Ordering::Relaxed);
    // SAFETY: without the bit, global translations are as others.
    unsafe { registers::write_cr4(registers::read_cr4() & !CR4_GLOBAL_PAGES) };
}

/// Detects the features on the boot CPU, once.
pub(crate) fn detect() -> &'static Features {
    FEATURES.set(read())
}

/// Whether the features are other ones than those that were detected, as after an update of the
/// microcode.
pub(crate) fn have_changed() -> bool {
    read() != *features()
}

fn read() -> Features {
    let max = cpuid(0, 0)[0];
    let max_extended = cpuid(0x8000_0000, 0)[0];
    let leaf = |number: u32, sub| {
        let there = if number >= 0x8000_0000 { number <= max_extended } else { number <= max };
        if there { cpuid(number, sub) } else { [0; 4] }
    };
    let [_, _, c1, d1] = leaf(1, 0);
    let [_, b7, c7, _] = leaf(7, 0);
    let d81 = leaf(0x8000_0001, 0)[3];
    let xsave = c1 & 1 << 26 != 0;
    let mut features = Features {
        no_execute: d81 & 1 << 20 != 0,
        gib_pages: d81 & 1 << 26 != 0,
        global_pages: d1 & 1 << 13 != 0,
        machine_check: d1 & 1 << 7 != 0,
        sysenter: d1 & 1 << 11 != 0,
        x2apic: c1 & 1 << 21 != 0,
        tsc_deadline: c1 & 1 << 24 != 0,
        pcid: c1 & 1 << 17 != 0,
        invpcid: b7 & 1 << 10 != 0,
        fsgsbase: b7 & 1 << 0 != 0,
        smep: b7 & 1 << 7 != 0,
        smap: b7 & 1 << 20 != 0 && !is_emulated(),
        umip: c7 & 1 << 2 != 0,
        invariant_tsc: leaf(0x8000_0007, 0)[3] & 1 << 8 != 0,
        physical_bits: match leaf(0x8000_0008, 0)[0] & 0xff {
            0 => 36,
            bits => bits.min(52),
        },
        xcr0: 0,
        xsave_size: 512,
        xsaveopt: false,
    };
    if xsave {
        let [low, _, _, high] = leaf(13, 0);
        features.xcr0 = (u64::from(high) << 32 | u64::from(low)) & XCR0_USED;
        // AVX-512 is used either completely or not at all.
        if features.xcr0 & 0xe0 != 0xe0 || features.xcr0 & 4 == 0 {
            features.xcr0 &= 7;
        }
        features.xsaveopt = leaf(13, 1)[0] & 1 != 0;
        let end = |state| {
            let [size, offset, ..] = leaf(13, state);
            size + offset
        };
        features.xsave_size = (2..8).filter(|&state| features.xcr0 & 1 << state != 0).map(end).fold(576, u32::max);
    }
    features
}

/// Sets this CPU's control and debug registers. CR4.FSGSBASE and TSD are set per vCPU. The entry
/// code has enabled no-execute already, if it is supported.
pub(crate) fn enable() {
    let features = features();
    let mut cr4 = CR4_PAE | CR4_SSE | CR4_DEBUG_EXTENSIONS;
    for (there, bit) in [
        (features.machine_check, CR4_MACHINE_CHECK),
        (features.global_pages && GLOBAL_PAGES.load(Ordering::Relaxed), CR4_GLOBAL_PAGES),
        (features.umip, CR4_UMIP),
        (features.xcr0 != 0, CR4_XSAVE),
        (features.smep, CR4_SMEP),
        (features.smap, CR4_SMAP),
    ] {
        cr4 |= if there { bit } else { 0 };
    }
    // SAFETY: paging and protection stay enabled; Paravane uses no user page.
    unsafe { registers::write_cr0(CR0) };
    // SAFETY: only features that CPUID reports; Paravane's code follows their rules.
    unsafe { registers::write_cr4(cr4) };
    if features.xcr0 != 0 {
        // SAFETY: a subset of the states that CPUID reports, and OSXSAVE has just been set.
        unsafe { registers::write_xcr0(features.xcr0) };
    }
    let efer = EFER | if features.no_execute { EFER_NO_EXECUTE } else { 0 };
    // SAFETY: keeps long mode and no-execute unchanged and adds SYSCALL.
    unsafe { registers::write_msr(msr::EFER, efer) };
    // SAFETY: attribute 0 keeps its meaning, write-back; the others are not in use yet.
    unsafe { registers::write_msr(msr::PAT, PAT) };
    debug_registers::reset();
    SMAP.store(features.smap, Ordering::Relaxed);
    NO_EXECUTE.store(features.no_execute, Ordering::Relaxed);
}

/// Writes back and invalidates the caches of this CPU.
pub(super) fn write_back_caches() {
    registers::wbinvd();
}
