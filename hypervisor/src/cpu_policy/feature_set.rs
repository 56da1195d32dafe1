//! A policy's features in the interface's numbering (`arch-x86/cpufeatureset.h`): 32-bit words,
//! each a register of a leaf.

use self::Register::{Eax, Ebx, Ecx, Edx};
use super::policy::{Policy, Registers};

/// The number of words.
pub(crate) const WORDS: usize = PLACES.len();

/// Leaf, subleaf and register of each word. `None` for the two words of `MSR_ARCH_CAPABILITIES`,
/// which guests do not have.
const PLACES: [Option<(u32, u32, Register)>; 19] = [
    Some((1, 0, Edx)),
    Some((1, 0, Ecx)),
    Some((0x8000_0001, 0, Edx)),
    Some((0x8000_0001, 0, Ecx)),
    Some((0xd, 1, Eax)),
    Some((7, 0, Ebx)),
    Some((7, 0, Ecx)),
    Some((0x8000_0007, 0, Edx)),
    Some((0x8000_0008, 0, Ebx)),
    Some((7, 0, Edx)),
    Some((7, 1, Eax)),
    Some((0x8000_0021, 0, Eax)),
    Some((7, 1, Ebx)),
    Some((7, 2, Edx)),
    Some((7, 1, Ecx)),
    Some((7, 1, Edx)),
    None,
    None,
    Some((0x8000_0021, 0, Ecx)),
];

/// A register in which CPUID returns values.
#[derive(Clone, Copy)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl Register {
    const fn of(self, [eax, ebx, ecx, edx]: &mut Registers) -> &mut u32 {
        match self {
            Eax => eax,
            Ebx => ebx,
            Ecx => ecx,
            Edx => edx,
        }
    }
}

/// The feature words of a policy.
pub(crate) fn feature_set(policy: &Policy) -> [u32; WORDS] {
    PLACES.map(|place| place.map_or(0, |(leaf, subleaf, register)| *register.of(&mut policy.leaf(leaf, subleaf))))
}

/// Removes the features that are not in `words` from the policy.
pub(super) fn keep_only(policy: &mut Policy, words: &[u32; WORDS]) {
    for (place, word) in PLACES.iter().zip(words) {
        if let Some((leaf, subleaf, register)) = *place {
            policy.update(leaf, subleaf, |registers| *register.of(registers) &= word);
        }
    }
}
