//! SPEC_CTRL and PRED_CMD of a vCPU.
//!
//! While a vCPU runs, SPEC_CTRL has the bits that the guest has set, as far as the processor has
//! them, and those that the plan requires. With IBRS at each entry, the entry code writes this
//! value when it enters the guest, and Paravane's value at each exit to Rust code. Otherwise the
//! guest's value stays in the register while Paravane runs, because it includes all bits that the
//! plan requires. It is written only when it changes: another vCPU becomes active, or the guest
//! writes the register.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Active, GuestContext, vcpu};
use crate::addr::{MAX_CPUS, PerCpu};
use crate::counters::{self, Counter};
use crate::per_cpu;

/// The bits in each CPU's SPEC_CTRL beyond those that are required.
static BEYOND: PerCpu<AtomicU64> = PerCpu::new([const { AtomicU64::new(0) }; MAX_CPUS]);

impl GuestContext {
    /// SPEC_CTRL as the guest has set it.
    pub const fn spec_ctrl(&self) -> u64 {
        self.spec_ctrl
    }

    /// Sets SPEC_CTRL of an inactive vCPU. Bits that the processor lacks have no effect.
    pub const fn set_spec_ctrl(&mut self, value: u64) {
        self.spec_ctrl = value;
    }
}

impl Active {
    /// Sets SPEC_CTRL (see [`GuestContext::set_spec_ctrl`]).
    pub fn set_spec_ctrl(&mut self, value: u64) {
        let context = self.context_mut();
        context.set_spec_ctrl(value);
        load(context);
    }

    /// Discards the branch predictions of this pCPU, if the processor can do so (IBPB).
    pub fn discard_predictions(&mut self) {
        vcpu::discard_predictions();
    }
}

/// Loads SPEC_CTRL of the active vCPU, or leaves it to the entry code.
pub(super) fn load(context: &mut GuestContext) {
    let control = vcpu::guest_spec_ctrl();
    let wanted = control.value(context.spec_ctrl);
    context.running_spec_ctrl = wanted;
    if control.at_entry {
        return;
    }
    let beyond = wanted & !control.required;
    if BEYOND[per_cpu::current()].swap(beyond, Ordering::Relaxed) != beyond {
        counters::count(Counter::SpecCtrlWrites);
        vcpu::write_spec_ctrl(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defences::spec_ctrl_of_this_cpu;

    const SSBD: u64 = 1 << 2;

    #[test]
    fn spec_ctrl_is_written_only_if_it_changes() {
        let required = vcpu::guest_spec_ctrl().required;
        let mut contexts = [0, 0, SSBD, SSBD, 0].map(|value| {
            let mut context = GuestContext::new();
            context.set_spec_ctrl(value);
            context
        });
        let here = per_cpu::current();
        let writes = || counters::of(here, Counter::SpecCtrlWrites);
        let mut run = |index: usize| {
            let before = writes();
            load(&mut contexts[index]);
            assert_eq!(contexts[index].running_spec_ctrl, required | contexts[index].spec_ctrl());
            assert_eq!(spec_ctrl_of_this_cpu(), contexts[index].running_spec_ctrl);
            writes() - before
        };
        // No guest has run on this CPU, or one of another test.
        run(2);
        assert_eq!([3, 0, 1, 2, 3, 4].map(&mut run), [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_guest_reaches_no_bit_that_the_processor_lacks() {
        let mut context = GuestContext::new();
        context.set_spec_ctrl(u64::MAX);
        load(&mut context);
        let control = vcpu::guest_spec_ctrl();
        assert_eq!(context.spec_ctrl(), u64::MAX, "what it reads");
        assert_eq!(spec_ctrl_of_this_cpu(), control.offered | control.required);
        context.set_spec_ctrl(0);
        load(&mut context);
        assert_eq!(spec_ctrl_of_this_cpu(), control.required, "what is required stays");
    }
}
