//! The memory image of a vCPU's extended state, as saved and restored by the tools. An image from
//! outside is validated, because the processor faults on an invalid one.

use super::vcpu::supported_states;
use crate::speculation::MaskedIndex;

const AVX: u64 = 1 << 2;
const AVX512: u64 = 0xe0;
/// Size of the FXSAVE image at the start of the area.
pub const LEGACY: usize = 512;
/// Size of the header that follows it: the states that are not in their initial configuration, the
/// compaction mask, and zeros.
const HEADER: usize = 64;
/// Sizes of the non-compacted XSAVE format up to the last state of each set (Intel SDM volume 1,
/// 13.4).
const SIZE_LEGACY: usize = LEGACY + HEADER;
const SIZE_AVX: usize = 832;
const SIZE_AVX512: usize = 2688;
/// Offset of MXCSR: four bytes, of which the upper two are reserved.
const MXCSR: usize = 24;

/// x87, SSE, AVX and AVX-512 state of a vCPU, while it is not in the processor.
#[repr(C, align(64))]
pub(crate) struct ExtendedState {
    pub(crate) area: [u8; SIZE_AVX512],
    pub(crate) xcr0: u64,
}

impl ExtendedState {
    /// The state after reset.
    pub(crate) const fn new() -> Self {
        let mut area = [0; SIZE_AVX512];
        // FCW, FTW (abridged, empty) and MXCSR of the legacy area.
        (area[0], area[1]) = (0x7f, 0x03);
        (area[MXCSR], area[MXCSR + 1]) = (0x80, 0x1f);
        Self { area, xcr0: 1 }
    }

    /// The states that the guest has enabled.
    pub(crate) const fn xcr0(&self) -> u64 {
        self.xcr0
    }

    /// The image, in the size for all states that the processor supports; empty without XSAVE.
    pub(crate) fn image(&self) -> &[u8] {
        self.area.part(..size(supported_states())).unwrap_or_default()
    }

    /// The FXSAVE image.
    pub(crate) fn legacy(&self) -> &[u8] {
        &self.area[..LEGACY]
    }

    /// Sets the FXSAVE image. Returns `false` without a change if the processor would refuse it.
    pub(crate) fn set_legacy(&mut self, image: &[u8; LEGACY]) -> bool {
        if !mxcsr_is_legal(image) {
            return false;
        }
        self.area[..LEGACY].copy_from_slice(image);
        // x87 and SSE are no longer in their initial configuration.
        self.area[LEGACY] |= 3;
        true
    }

    /// Sets the image, which may end after any of the sets of states, and the enabled states.
    /// Returns `false` without a change if the processor would refuse it.
    pub(crate) fn set_image(&mut self, xcr0: u64, image: &[u8]) -> bool {
        if !xcr0_is_legal(xcr0) || !image_is_legal(image) {
            return false;
        }
        self.area = Self::new().area;
        let Some(area) = self.area.part_mut(..image.len()) else { return false };
        area.copy_from_slice(image);
        self.xcr0 = xcr0;
        true
    }
}

/// Whether the guest may enable this combination (Intel SDM volume 1, 13.3).
pub(crate) fn xcr0_is_legal(value: u64) -> bool {
    value & !supported_states() == 0
        && value & 1 != 0
        && (value & AVX == 0 || value & 2 != 0)
        && (value & AVX512 == 0 || value & AVX512 == AVX512 && value & AVX != 0)
}

/// Size of the image of these states in bytes.
const fn size(states: u64) -> usize {
    match states {
        0 => 0,
        _ if states & AVX512 != 0 => SIZE_AVX512,
        _ if states & AVX != 0 => SIZE_AVX,
        _ => SIZE_LEGACY,
    }
}

fn mxcsr_is_legal(image: &[u8]) -> bool {
    image.part(MXCSR + 2..MXCSR + 4) == Some(&[0, 0])
}

fn image_is_legal(image: &[u8]) -> bool {
    let Some((states, rest)) = image.part(LEGACY..SIZE_LEGACY).and_then(|header| header.split_first_chunk()) else {
        return false;
    };
    let states = u64::from_le_bytes(*states);
    // The states in the header must be supported; the compacted format has another layout.
    states & !supported_states() == 0
        && size(states) <= image.len()
        && image.len() <= size(supported_states())
        && rest.iter().all(|byte| *byte == 0)
        && mxcsr_is_legal(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_the_processor_would_refuse_is_refused() {
        let mut state = ExtendedState::new();
        let good = [&state.area[..SIZE_AVX]].concat();
        let with = |at: usize, byte: u8| {
            let mut image = good.clone();
            image[at] = byte;
            image
        };
        assert!(state.set_image(7, &with(LEGACY, 7)) && state.image()[LEGACY] == 7);
        for (what, xcr0, image) in [
            ("a state that is not there", 7, with(LEGACY, 0x20)),
            ("the compacted format", 7, with(LEGACY + 15, 0x80)),
            ("a reserved byte of the header", 7, with(LEGACY + 63, 1)),
            ("a reserved bit of MXCSR", 7, with(MXCSR + 2, 1)),
            ("AVX without room for it", 7, with(LEGACY, 4)[..SIZE_LEGACY].to_vec()),
            ("a short image", 7, good[..SIZE_LEGACY - 1].to_vec()),
            ("no image", 7, std::vec::Vec::new()),
            ("a long image", 7, [&good[..], &[0]].concat()),
            ("AVX without SSE", 5, good.clone()),
            ("no x87", 6, good.clone()),
        ] {
            assert!(!state.set_image(xcr0, &image), "{what}");
        }
        assert_eq!((state.xcr0(), state.image()[LEGACY]), (7, 7), "nothing has changed");
        assert!(state.set_image(1, &good[..SIZE_LEGACY]));
        let mut legacy = [0; LEGACY];
        assert!(state.set_legacy(&legacy) && state.area[LEGACY] & 3 == 3);
        legacy[MXCSR + 3] = 1;
        assert!(!state.set_legacy(&legacy));
    }
}
