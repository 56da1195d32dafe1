//! The processor's own leaves as a guest may see them.

use super::features::*;
use super::{Vendor, View};

const FIRST_EXTENDED: u32 = 0x8000_0000;
/// The last leaf shown, and the last extended one for each vendor.
const LAST_BASIC: u32 = 0xd;
const LAST_EXTENDED: u32 = 0x8000_0008;
const LAST_EXTENDED_AMD: u32 = 0x8000_0021;

/// Extended states: AVX, and all of AVX-512.
const XCR0_AVX: u64 = 1 << 2;
const XCR0_AVX512: u64 = 7 << 5;
/// The x87 and SSE part of an XSAVE image, and its header.
const XSAVE_LEGACY: u32 = 512 + 64;

/// What `mask` leaves of a register, less `needing` unless `there`.
const fn without(value: u32, needing: u32, there: bool) -> u32 {
    if there { value } else { value & !needing }
}

pub(super) fn leaf(view: &View, host: &impl Fn(u32, u32) -> [u32; 4], number: u32, subleaf: u32) -> [u32; 4] {
    let vendor = Vendor::of(host(0, 0));
    let last_basic = host(0, 0)[0].min(LAST_BASIC);
    let last_extended = match vendor {
        Vendor::Amd => LAST_EXTENDED_AMD,
        _ => LAST_EXTENDED,
    };
    let last_extended = host(FIRST_EXTENDED, 0)[0].min(last_extended);
    if number > last_basic && !(FIRST_EXTENDED..=last_extended).contains(&number) {
        return [0; 4];
    }
    let [eax, ebx, ecx, edx] = host(number, subleaf);
    match number {
        0 => [last_basic, ebx, ecx, edx],
        1 => basic(view, [eax, ebx, ecx, edx]),
        // Descriptions of caches.
        2 => [eax, ebx, ecx, edx],
        // The same; the caches are shared with nobody, and the package has one core.
        4 => [eax & 0x3fff, ebx, ecx, edx],
        7 => structured(view, subleaf, [eax, ebx, ecx, edx], host(7, 0)[0]),
        0xd => extended_states(view, host, subleaf),
        FIRST_EXTENDED => [last_extended, ebx, ecx, edx],
        0x8000_0001 => extended(view, vendor, [eax, ebx, ecx, edx]),
        // The name; caches and translation caches.
        0x8000_0002..=0x8000_0006 | 0x8000_0019 => [eax, ebx, ecx, edx],
        0x8000_0007 => [0, 0, 0, without(edx & INVARIANT_TSC, INVARIANT_TSC, view.features.invariant_tsc)],
        // Linear addresses have 48 bits, whatever more the processor could do.
        0x8000_0008 => [eax & 0xff | 48 << 8, ebx & ADDRESS_EBX, 0, 0],
        0x8000_0021 => [eax & EXTENDED_21_EAX, 0, 0, 0],
        _ => [0; 4],
    }
}

const fn has_avx(view: &View) -> bool {
    view.features.xcr0 & XCR0_AVX != 0
}

const fn has_avx512(view: &View) -> bool {
    view.features.xcr0 & XCR0_AVX512 == XCR0_AVX512
}

/// Leaf 1: version, features; each vCPU is a package with one core, its APIC id twice its number.
fn basic(view: &View, [eax, ebx, ecx, edx]: [u32; 4]) -> [u32; 4] {
    let ecx = without(ecx & BASIC_ECX, BASIC_ECX_XSAVE, view.features.xcr0 != 0);
    let edx = without(edx & BASIC_EDX, SYSENTER, view.features.sysenter);
    let apic = view.vcpu << 1 & 0xff;
    // Brand and the size of a line for CLFLUSH stay.
    [eax, ebx & 0xffff | 1 << 16 | apic << 24, without(ecx, BASIC_ECX_AVX, has_avx(view)) | HYPERVISOR, edx]
}

/// Leaf 7.
fn structured(view: &View, subleaf: u32, [eax, ebx, ecx, edx]: [u32; 4], last: u32) -> [u32; 4] {
    let (avx, avx512) = (has_avx(view), has_avx512(view));
    match subleaf {
        0 => {
            let ebx = without(ebx & STRUCTURED_EBX, STRUCTURED_EBX_AVX, avx);
            let ebx = without(ebx, FSGSBASE, view.features.fsgsbase);
            let ecx = without(ecx & STRUCTURED_ECX, STRUCTURED_ECX_AVX, avx);
            [
                last.min(1),
                without(ebx, STRUCTURED_EBX_AVX512, avx512),
                without(ecx, STRUCTURED_ECX_AVX512, avx512),
                without(edx & STRUCTURED_EDX, STRUCTURED_EDX_AVX512, avx512),
            ]
        }
        1 if last >= 1 => {
            let eax = without(eax & STRUCTURED_1_EAX, STRUCTURED_1_EAX_AVX, avx);
            [without(eax, STRUCTURED_1_EAX_AVX512, avx512), 0, 0, 0]
        }
        _ => [0; 4],
    }
}

/// Leaf 13: the layout of the XSAVE image, of the states that Paravane keeps.
fn extended_states(view: &View, host: &impl Fn(u32, u32) -> [u32; 4], subleaf: u32) -> [u32; 4] {
    let there = view.features.xcr0;
    if there == 0 {
        return [0; 4];
    }
    match subleaf {
        // Both halves of the mask.
        0 => [there as u32, image_size(host, view.xcr0), image_size(host, there), (there >> 32) as u32],
        1 => {
            let eax = without(host(0xd, 1)[0] & XSAVE_EAX, 1, view.features.xsaveopt);
            [eax, if eax & 2 != 0 { compact_size(host, view.xcr0) } else { 0 }, 0, 0]
        }
        2..64 if there & 1 << subleaf != 0 => {
            let [size, offset, flags, _] = host(0xd, subleaf);
            // Bit 0 would tell that it is a state of ring 0; bit 1 tells that it is aligned in the compact form.
            [size, offset, flags & 2, 0]
        }
        _ => [0; 4],
    }
}

/// The states above x87 and SSE, by number.
fn components(states: u64) -> impl Iterator<Item = u32> {
    (2..63).filter(move |number| states & 1 << number != 0)
}

fn image_size(host: &impl Fn(u32, u32) -> [u32; 4], states: u64) -> u32 {
    components(states).fold(XSAVE_LEGACY, |end, number| {
        let [size, offset, ..] = host(0xd, number);
        end.max(offset.saturating_add(size))
    })
}

fn compact_size(host: &impl Fn(u32, u32) -> [u32; 4], states: u64) -> u32 {
    components(states).fold(XSAVE_LEGACY, |end, number| {
        let [size, _, flags, _] = host(0xd, number);
        let start = if flags & 2 != 0 { end.next_multiple_of(64) } else { end };
        start.saturating_add(size)
    })
}

/// Leaf 0x80000001.
fn extended(view: &View, vendor: Vendor, [eax, ebx, ecx, edx]: [u32; 4]) -> [u32; 4] {
    let repeated = if vendor == Vendor::Amd { edx & EXTENDED_EDX_REPEATED } else { 0 };
    let no_execute = without(edx & EXTENDED_EDX, NO_EXECUTE, view.features.no_execute);
    let ecx = without(ecx & EXTENDED_ECX, EXTENDED_ECX_AVX, has_avx(view));
    // The processor may tell SYSCALL in 64-bit mode only; a guest's kernel asks in no other.
    [eax, ebx, ecx, no_execute | repeated | SYSCALL]
}
