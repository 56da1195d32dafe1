//! A policy's features in the interface's numbering (`arch-x86/cpufeatureset.h`): 32-bit words,
//! each a register of a leaf.

use machine::integers::low_u32;

use self::Place::{Capabilities, Cpuid};
use self::Register::{Eax, Ebx, Ecx, Edx};
use super::policy::{Policy, Registers};

/// The number of words.
pub(crate) const WORDS: usize = PLACES.len();

/// Where a word is in a policy.
#[derive(Clone, Copy)]
enum Place {
    /// In a register of this leaf and subleaf.
    Cpuid(u32, u32, Register),
    /// In ARCH_CAPABILITIES, from this bit on.
    Capabilities(u32),
}

/// The place of each word.
const PLACES: [Place; 19] = [
    Cpuid(1, 0, Edx),
    Cpuid(1, 0, Ecx),
    Cpuid(0x8000_0001, 0, Edx),
    Cpuid(0x8000_0001, 0, Ecx),
    Cpuid(0xd, 1, Eax),
    Cpuid(7, 0, Ebx),
    Cpuid(7, 0, Ecx),
    Cpuid(0x8000_0007, 0, Edx),
    Cpuid(0x8000_0008, 0, Ebx),
    Cpuid(7, 0, Edx),
    Cpuid(7, 1, Eax),
    Cpuid(0x8000_0021, 0, Eax),
    Cpuid(7, 1, Ebx),
    Cpuid(7, 2, Edx),
    Cpuid(7, 1, Ecx),
    Cpuid(7, 1, Edx),
    Capabilities(0),
    Capabilities(32),
    Cpuid(0x8000_0021, 0, Ecx),
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
    PLACES.map(|place| match place {
        Cpuid(leaf, subleaf, register) => *register.of(&mut policy.leaf(leaf, subleaf)),
        Capabilities(shift) => low_u32(policy.arch_capabilities >> shift),
    })
}

/// Removes the features that are not in `words` from the policy.
pub(super) fn keep_only(policy: &mut Policy, words: &[u32; WORDS]) {
    for (place, word) in PLACES.into_iter().zip(words) {
        match place {
            Cpuid(leaf, subleaf, register) => {
                policy.update(leaf, subleaf, |registers| *register.of(registers) &= word);
            }
            Capabilities(shift) => policy.arch_capabilities &= !(u64::from(!word) << shift),
        }
    }
}
