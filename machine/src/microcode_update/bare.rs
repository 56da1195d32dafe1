#![expect(unsafe_code, reason = "hands an update to the processor")]
//! The processor's interface: model-specific registers. Intel SDM volume 3, "Microcode Update
//! Facilities"; AMD64 APM volume 2, "Microcode Patches".

use core::arch::x86_64::__cpuid;

use microcode::{Maker, Processor};

use super::Unavailable;
use crate::integers::low_u32;
use crate::processor::msr;
use crate::processor::registers::{self, cpuid};

/// The processor's maker, if the format of its updates is known.
pub(super) fn maker() -> Option<Maker> {
    let [_, b, c, d] = cpuid(0, 0);
    let mut name = [0; 12];
    for (place, word) in name.chunks_exact_mut(4).zip([b, d, c]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Maker::named(&name)
}

/// This CPU as an update has to be for it.
pub(super) fn identify() -> Result<Processor, Unavailable> {
    let maker = maker().ok_or(Unavailable::UnknownProcessor)?;
    let [signature, _, features, _] = cpuid(1, 0);
    if features & 1 << 31 != 0 {
        return Err(Unavailable::OuterHypervisor);
    }
    let platform = match maker {
        Maker::Intel => 1 << (registers::try_read_msr(msr::PLATFORM_ID).unwrap_or(0) >> 50 & 7),
        Maker::Amd => 0,
    };
    let processor = Processor { maker, signature, platform, revision: revision(maker) };
    // Outer hypervisors that hide themselves use this revision to refuse updates.
    if processor.revision == u32::MAX {
        return Err(Unavailable::OuterHypervisor);
    }
    Some(processor).filter(Processor::is_supported).ok_or(Unavailable::UnknownProcessor)
}

/// This CPU's revision; zero if it cannot be read.
pub(super) fn revision(maker: Maker) -> u32 {
    if maker == Maker::Intel {
        // SAFETY: the register has only this revision, which CPUID writes to it.
        let _ = unsafe { registers::try_write_msr(msr::MICROCODE_REVISION, 0) };
        // Not `cpuid`, whose result would have to be used.
        core::hint::black_box(__cpuid(1));
    }
    let value = registers::try_read_msr(msr::MICROCODE_REVISION).unwrap_or(0);
    low_u32(if maker == Maker::Intel { value >> 32 } else { value })
}

/// Has this CPU load an update. Returns `false` if that faults.
pub(super) fn load(maker: Maker, image: &[u8]) -> bool {
    let address = image.as_ptr() as u64;
    match maker {
        Maker::Intel => {
            // An update may change how caches work.
            registers::wbinvd();
            // SAFETY: the processor only reads the image, which stays borrowed. It accepts what its
            // maker has signed, an implementation of the same architecture.
            unsafe { registers::try_write_msr(msr::MICROCODE_UPDATE, address) }
        }
        Maker::Amd => {
            // SAFETY: as above.
            let taken = unsafe { registers::try_write_msr(msr::PATCH_LOADER, address) };
            // Some processors keep translations of the image as uncached ones.
            for page in (address..address + image.len() as u64).step_by(4096) {
                registers::invalidate_page(page);
            }
            taken
        }
    }
}
