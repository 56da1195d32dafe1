//! CR0.TS and CR4 of a vCPU.
//!
//! `CR4.TSD` and `CR4.FSGSBASE` are loaded when a vCPU becomes active and when it changes them.
//! They affect only ring 3.

use super::{Active, GuestContext, vcpu};
use crate::processor;

/// Bits of CR4 (Intel SDM volume 3, 2.5).
const TIME_STAMP_DISABLE: u64 = 1 << 2;
const DEBUG_EXTENSIONS: u64 = 1 << 3;
const FSGSBASE: u64 = 1 << 16;
const OSXSAVE: u64 = 1 << 18;

/// The guest-chosen bits that are loaded into the processor. The others are always set there.
#[cfg(target_os = "none")]
pub(crate) const CONTROL4_LOADED: u64 = TIME_STAMP_DISABLE | FSGSBASE;

impl GuestContext {
    /// Sets CR0.TS of an inactive vCPU.
    pub const fn set_task_switched(&mut self, set: bool) {
        self.task_switched = set;
    }

    /// CR0.TS as the guest has set it.
    pub const fn task_switched(&self) -> bool {
        self.task_switched
    }

    /// Sets the guest-chosen bits of CR4 of an inactive vCPU: TSD, DE, FSGSBASE, OSXSAVE. Other
    /// bits, and those that the processor does not support, stay clear.
    pub fn set_control4(&mut self, value: u64) {
        let features = processor::features();
        let there = |feature: bool, bit: u64| if feature { bit } else { 0 };
        let choice = TIME_STAMP_DISABLE
            | DEBUG_EXTENSIONS
            | there(features.fsgsbase, FSGSBASE)
            | there(features.xcr0 != 0, OSXSAVE);
        self.control4 = value & choice;
    }

    /// The bits of CR4 that the guest has chosen.
    pub const fn control4(&self) -> u64 {
        self.control4
    }
}

impl Active {
    /// Sets CR0.TS: while it is set, the next use of extended state traps.
    pub fn set_task_switched(&mut self, set: bool) {
        let context = self.context_mut();
        context.task_switched = set;
        vcpu::load_task_switched(context);
    }

    /// Sets the bits of CR4 that the guest chooses (see [`GuestContext::set_control4`]).
    pub fn set_control4(&mut self, value: u64) {
        let context = self.context_mut();
        context.set_control4(value);
        vcpu::load_control4(context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_cr4_that_a_guest_cannot_choose_stay_clear() {
        let mut context = GuestContext::new();
        context.set_control4(u64::MAX);
        assert_eq!(context.control4() & !0x5_000c, 0);
        assert_eq!(context.control4() & 0xc, 0xc);
        context.set_control4(!0x5_000c);
        assert_eq!(context.control4(), 0);
    }
}
