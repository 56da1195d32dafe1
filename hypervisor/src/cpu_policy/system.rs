//! The policies of the host: the processor's CPUID, the part that Paravane uses, and the policies
//! for guests.

use alloc::sync::Arc;

use machine::cpu::{self, Features};
use machine::defences::{self, GuestView};
use machine::speculation::MaskedIndex;
use machine::sync::Once;

use super::feature_set::{self, WORDS};
use super::features::{HYPER_THREADING, LEGACY_CORES, ON_DEMAND, OSXSAVE, SMAP};
use super::leaves;
use super::policy::Policy;

/// The policies of the host.
pub(crate) struct SystemPolicies {
    /// The processor's CPUID.
    pub raw: Policy,
    /// The part of it that is in use.
    pub host: Policy,
    /// The maximum for guests, including features that only the tools enable.
    pub maximum: Policy,
    /// The default for a guest whose configuration does not set a policy.
    pub usual: Policy,
    /// The policy of a domain from its creation until the tools set one.
    pub initial: Arc<Policy>,
}

static SYSTEM: Once<SystemPolicies> = Once::new();

/// Reads the processor's CPUID. Called once, before the first domain is created.
pub(crate) fn init() {
    let defences = defences::report();
    let mut raw = Policy::read(cpu::cpuid);
    raw.arch_capabilities = defences.facts.arch_capabilities.unwrap_or(0);
    SYSTEM.set(SystemPolicies::new(raw, cpu::features(), &defences.plan.guest));
}

/// The policies of the host.
pub(crate) fn system() -> &'static SystemPolicies {
    SYSTEM.get()
}

impl SystemPolicies {
    pub(super) fn new(raw: Policy, features: &Features, view: &GuestView) -> Self {
        let mut host = raw.clone();
        leaves::strip(&mut host, features.xcr0);
        host.update(1, 0, |[_, _, ecx, _]| *ecx &= !OSXSAVE);
        if !features.smap {
            host.update(7, 0, |[_, ebx, ..]| *ebx &= !SMAP);
        }
        let initial = leaves::available(&raw, features, view);
        let mut maximum = initial.clone();
        leaves::add_pooled(&mut maximum);
        maximum.update(1, 0, |[_, _, _, edx]| *edx |= HYPER_THREADING);
        maximum.update(0x8000_0001, 0, |[_, _, ecx, _]| *ecx |= LEGACY_CORES);
        let mut usual = initial.clone();
        let mut words = [u32::MAX; WORDS];
        for (word, bits) in ON_DEMAND {
            if let Some(word) = words.masked_mut(word) {
                *word = !bits;
            }
        }
        feature_set::keep_only(&mut usual, &words);
        Self { raw, host, maximum, usual, initial: Arc::new(initial) }
    }
}
