//! The hardware domain: which domain it is, and what of the machine it gets. One domain deals with devices, the initial one; all others find a machine
//! without any.

pub(crate) mod devices;
pub(crate) mod interrupts;
mod message;
#[cfg(test)]
mod tests;

use machine::hardware::Hardware;
use machine::sync::Once;

use crate::domain::Domain;

static HARDWARE: Once<Hardware> = Once::new();

/// Takes the machine's devices over; the hardware domain is about to be built.
pub(crate) fn init() {
    if let Some(hardware) = Hardware::claim() {
        HARDWARE.set(hardware);
    }
}

/// The right to deal with devices, if the domain has it.
pub(crate) fn of(domain: &Domain) -> Option<&'static Hardware> {
    HARDWARE.try_get().filter(|_| domain.is_privileged())
}

/// The right itself, for what happens on no domain's behalf.
fn any() -> Option<&'static Hardware> {
    HARDWARE.try_get()
}
