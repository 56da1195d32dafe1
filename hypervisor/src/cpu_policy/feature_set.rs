//! A policy's features as the interface numbers them (`arch-x86/cpufeatureset.h`): words of 32 bits, each a register of a leaf.

use super::policy::Policy;

/// How many words there are.
pub(crate) const WORDS: usize = PLACES.len();

/// Leaf, subleaf and register (0 for EAX) of each word; `None` for the two of `MSR_ARCH_CAPABILITIES`, which no guest has.
const PLACES: [Option<(u32, u32, usize)>; 19] = [
    Some((1, 0, 3)),
    Some((1, 0, 2)),
    Some((0x8000_0001, 0, 3)),
    Some((0x8000_0001, 0, 2)),
    Some((0xd, 1, 0)),
    Some((7, 0, 1)),
    Some((7, 0, 2)),
    Some((0x8000_0007, 0, 3)),
    Some((0x8000_0008, 0, 1)),
    Some((7, 0, 3)),
    Some((7, 1, 0)),
    Some((0x8000_0021, 0, 0)),
    Some((7, 1, 1)),
    Some((7, 2, 3)),
    Some((7, 1, 2)),
    Some((7, 1, 3)),
    None,
    None,
    Some((0x8000_0021, 0, 2)),
];

/// The words of a policy.
pub(crate) fn feature_set(policy: &Policy) -> [u32; WORDS] {
    PLACES.map(|place| place.map_or(0, |(leaf, subleaf, register)| policy.leaf(leaf, subleaf)[register]))
}

/// Gives the policy those of its features that are also in `words`.
pub(super) fn keep_only(policy: &mut Policy, words: &[u32; WORDS]) {
    for (place, word) in PLACES.iter().zip(words) {
        if let Some((leaf, subleaf, register)) = *place {
            policy.update(leaf, subleaf, |registers| registers[register] &= word);
        }
    }
}
