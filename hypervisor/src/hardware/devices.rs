//! The PCI functions that the hardware domain has registered.

use alloc::collections::BTreeSet;

use abi::errno::Errno;
use machine::hardware::Hardware;
use machine::hardware::pci::Function;
use machine::sync::{Level, SpinLock};

use super::message;

static KNOWN: SpinLock<BTreeSet<Function>> = SpinLock::new(Level::Hardware, BTreeSet::new());

/// Registers a function. Registering it again has no effect.
///
/// # Errors
/// `ENODEV` if the function does not respond.
pub(crate) fn add(hardware: &Hardware, function: Function) -> Result<(), Errno> {
    if !message::exists(hardware, function) {
        return Err(Errno::ENODEV);
    }
    KNOWN.lock().insert(function);
    Ok(())
}

/// Unregisters a function.
///
/// # Errors
/// `ENODEV` if it was not registered.
pub(crate) fn remove(function: Function) -> Result<(), Errno> {
    KNOWN.lock().remove(&function).then_some(()).ok_or(Errno::ENODEV)
}

/// Whether the function is registered.
pub(crate) fn is_known(function: Function) -> bool {
    KNOWN.lock().contains(&function)
}

/// Whether the function has MSI-X.
pub(crate) fn has_msix(hardware: &Hardware, function: Function) -> bool {
    message::has_msix(hardware, function)
}
