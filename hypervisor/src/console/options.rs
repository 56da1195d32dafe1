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
    let raw = raw_console(machine::boot::info().command_line()).map(String::from);
    OPTIONS.set(Options { raw, guest_log_level: machine::boot::options().guest_log_level });
}

/// The guest that `guest_console=raw:NAME` names; the last one counts.
fn raw_console(command_line: &str) -> Option<&str> {
    let mut words = command_line.split_ascii_whitespace().rev();
    words.find_map(|word| word.strip_prefix("guest_console=")?.strip_prefix("raw:"))
}

/// Whether the guest of that name has its bytes passed unchanged.
pub(super) fn is_raw(name: &str) -> bool {
    OPTIONS.try_get().is_some_and(|options| options.raw.as_deref() == Some(name))
}

/// Up to which level messages that guests cause are shown.
pub(super) fn guest_log_level() -> LevelFilter {
    OPTIONS.try_get().map_or(LevelFilter::Warn, |options| options.guest_log_level)
}

#[cfg(test)]
mod tests {
    use super::raw_console;

    #[test]
    fn the_raw_console_is_found() {
        assert_eq!(raw_console("com1=115200 guest_console=raw:web loglvl=all"), Some("web"));
        assert_eq!(raw_console("guest_console=raw:a guest_console=raw:b"), Some("b"));
        assert_eq!(raw_console("guest_console=lines:web raw:web"), None);
    }
}
