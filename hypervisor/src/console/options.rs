//! What Paravane's command line says about consoles: `guest_console=raw:NAME` and `guest_loglvl=`.

use alloc::string::String;

use log::LevelFilter;
use machine::sync::Once;

struct Options {
    raw: Option<String>,
    guest_log_level: LevelFilter,
}

static OPTIONS: Once<Options> = Once::new();

/// Reads the options; once, before the first domain is created.
pub fn init() {
    let options = machine::boot::options();
    let raw = options.raw_guest_console.map(String::from);
    OPTIONS.set(Options { raw, guest_log_level: options.guest_log_level });
}

/// Whether the guest of that name has its bytes passed unchanged.
pub(super) fn is_raw(name: &str) -> bool {
    OPTIONS.try_get().is_some_and(|options| options.raw.as_deref() == Some(name))
}

/// Up to which level messages that guests cause are shown.
pub(super) fn guest_log_level() -> LevelFilter {
    OPTIONS.try_get().map_or(LevelFilter::Warn, |options| options.guest_log_level)
}
