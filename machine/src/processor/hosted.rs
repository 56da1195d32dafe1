//! The simulated processor: a fixed set of features, and no caches.

use super::Features;

/// The features of the simulated processors.
pub fn features() -> &'static Features {
    static FEATURES: Features = Features {
        no_execute: true,
        gib_pages: true,
        global_pages: true,
        machine_check: true,
        sysenter: true,
        x2apic: true,
        tsc_deadline: true,
        invariant_tsc: true,
        pcid: false,
        invpcid: false,
        fsgsbase: true,
        smep: true,
        smap: true,
        umip: true,
        xsaveopt: false,
        physical_bits: 40,
        xcr0: 7,
        xsave_size: 832,
    };
    &FEATURES
}

/// There are no caches.
pub(super) const fn write_back_caches() {}
