//! The command-line option `guest_console=raw:NAME`.

use alloc::string::String;

use machine::sync::Once;

/// The guest whose console is raw.
static RAW: Once<Option<String>> = Once::new();

/// Reads the option. Called once, before the first domain is created.
pub(crate) fn init() {
    RAW.set(machine::boot::options().raw_guest_console.map(String::from));
}

/// Whether the bytes of the guest with that name pass unchanged.
pub(super) fn is_raw(name: &str) -> bool {
    RAW.try_get().is_some_and(|raw| raw.as_deref() == Some(name))
}
