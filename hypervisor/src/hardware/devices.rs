//! The PCI functions that the hardware domain has told of.

use alloc::collections::BTreeSet;

use abi::errno::Errno;
use machine::hardware::Hardware;
use machine::hardware::pci::Function;
use machine::sync::{Level, SpinLock};

use super::message;

static KNOWN: SpinLock<BTreeSet<Function>> = SpinLock::new(Level::Hardware, BTreeSet::new());

/// Notes a function. That it is known already is no harm.
///
/// # Errors
/// `ENODEV` if it does not answer.
pub(crate) fn add(hardware: &Hardware, function: Function) -> Result<(), Errno> {
    if !message::exists(hardware, function) {
        return Err(Errno::ENODEV);
    }
    KNOWN.lock().insert(function);
    Ok(())
}

/// Forgets a function.
///
/// # Errors
/// `ENODEV` if it was not known.
pub(crate) fn remove(function: Function) -> Result<(), Errno> {
    KNOWN.lock().remove(&function).then_some(()).ok_or(Errno::ENODEV)
}

/// Whether the function was told of.
pub(crate) fn is_known(function: Function) -> bool {
    KNOWN.lock().contains(&function)
}

/// Whether the function has MSI-X.
pub(crate) fn has_msix(hardware: &Hardware, function: Function) -> bool {
    message::has_msix(hardware, function)
}
