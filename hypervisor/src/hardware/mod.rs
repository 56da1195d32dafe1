//! The hardware domain and the parts of the machine that it gets. Only the initial domain has
//! access to devices. All other domains see a machine without devices.

pub(crate) mod devices;
pub(crate) mod interrupts;
mod message;
#[cfg(test)]
mod tests;

use machine::hardware::Hardware;
use machine::speculation;
use machine::sync::Once;

use crate::domain::Domain;

static HARDWARE: Once<Hardware> = Once::new();

/// Claims the machine's devices, before the hardware domain is built.
pub(crate) fn init() {
    if let Some(hardware) = Hardware::claim() {
        HARDWARE.set(hardware);
    }
}

/// The hardware token, if the domain may access devices. No other domain reaches the code that uses
/// it, not even during speculation.
pub(crate) fn of(domain: &Domain) -> Option<&'static Hardware> {
    let hardware = HARDWARE.try_get().filter(|_| domain.is_privileged())?;
    speculation::fence();
    Some(hardware)
}

/// The hardware token, for operations that no domain requests.
fn any() -> Option<&'static Hardware> {
    HARDWARE.try_get()
}
