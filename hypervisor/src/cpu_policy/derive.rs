//! Derives a domain's policy from the one that the tools request, within the maximum.

use super::feature_set::{self, feature_set};
use super::features::{ARCH_CAPS, AVX, AVX512F, XSAVE};
use super::policy::{CACHES, EXTENDED_STATES, FIRST_EXTENDED, NO_SUBLEAF, Policy, STRUCTURED};
use super::{leaves, states};

/// A leaf that requests more than the maximum has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Excess {
    /// The leaf.
    pub leaf: u32,
    /// The subleaf, or all ones for a leaf without subleaves.
    pub subleaf: u32,
}

/// The leaf and subleaf of each of [`Policy::limits`].
const LIMITS: [Excess; 3] = [
    Excess { leaf: 0, subleaf: NO_SUBLEAF },
    Excess { leaf: STRUCTURED, subleaf: 0 },
    Excess { leaf: FIRST_EXTENDED, subleaf: NO_SUBLEAF },
];

/// Purely descriptive leaves: caches, TLBs, the processor's name.
const fn describes(leaf: u32) -> bool {
    matches!(leaf, 2 | CACHES | 0x8000_0002..=0x8000_0006)
}

/// The policy of a domain for which the tools request `wanted`. It has the requested features that
/// are in `maximum` and whose prerequisites are met.
///
/// # Errors
/// The first limit in `wanted` that exceeds that of `maximum`.
pub(super) fn derive(wanted: &Policy, maximum: &Policy) -> Result<Policy, Excess> {
    let (limits, most) = (wanted.limits(), maximum.limits());
    if let Some((_, place)) = limits.iter().zip(most).zip(LIMITS).find(|((limit, most), _)| *limit > most) {
        return Err(place);
    }
    let mut policy = maximum.clone();
    let [basic, structured, extended] = limits;
    policy.update(0, 0, |[last, ..]| *last = basic);
    policy.update(STRUCTURED, 0, |[last, ..]| *last = structured);
    policy.update(FIRST_EXTENDED, 0, |[last, ..]| *last = extended);
    // Family, model and stepping; the number of logical processors in the package.
    let [version, numbers, ..] = wanted.leaf(1, 0);
    policy.update(1, 0, |[eax, ebx, ..]| (*eax, *ebx) = (version, *ebx & !0x00ff_0000 | numbers & 0x00ff_0000));
    policy.take_from(wanted, describes);
    feature_set::keep_only(&mut policy, &feature_set(wanted));
    let states = usable_states(&policy, wanted.extended_states() & maximum.extended_states());
    leaves::strip(&mut policy, states);
    policy.retain(|leaf, subleaf| {
        if leaf < FIRST_EXTENDED {
            leaf <= basic && (leaf != STRUCTURED || subleaf <= structured)
        } else {
            leaf <= extended
        }
    });
    if policy.leaf(STRUCTURED, 0)[3] & ARCH_CAPS == 0 {
        policy.arch_capabilities = 0;
    }
    Ok(policy)
}

/// The states in `wanted` whose features the policy has.
fn usable_states(policy: &Policy, wanted: u64) -> u64 {
    let (basic, structured) = (policy.leaf(1, 0)[2], policy.leaf(STRUCTURED, 0)[1]);
    // x87 and SSE are in every XSAVE area.
    if basic & XSAVE == 0 || wanted & 3 != 3 || policy.limits()[0] < EXTENDED_STATES {
        return 0;
    }
    let avx = basic & AVX != 0 && wanted & states::AVX != 0;
    let avx512 = avx && structured & AVX512F != 0 && wanted & states::AVX512 == states::AVX512;
    wanted & (3 | if avx { states::AVX } else { 0 } | if avx512 { states::AVX512 } else { 0 })
}
