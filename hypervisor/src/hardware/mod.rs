//! The hardware domain and the parts of the machine that it gets. Only the initial domain has
//! access to devices. All other domains see a machine without devices.

pub(crate) mod devices;
pub(crate) mod interrupts;
mod message;
#[cfg(test)]
mod tests;

use machine::hardware::Hardware;
use machine::sync::Once;

use crate::domain::Domain;

static HARDWARE: Once<Hardware> = Once::new();

/// Claims the machine's devices, before the hardware domain is built.
pub(crate) fn init() {
    if let Some(hardware) = Hardware::claim() {
        HARDWARE.set(hardware);
    }
}

/// The hardware token, if the domain may access devices.
pub(crate) fn of(domain: &Domain) -> Option<&'static Hardware> {
    HARDWARE.try_get().filter(|_| domain.is_privileged())
}

/// The hardware token, for operations that no domain requests.
fn any() -> Option<&'static Hardware> {
    HARDWARE.try_get()
}
