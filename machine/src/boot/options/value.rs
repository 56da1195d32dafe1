//! Values of options, parsed as Xen parses them.

use log::LevelFilter;

/// A boolean's value.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "yes" | "on" | "true" | "enable" => Some(true),
        "0" | "no" | "off" | "false" | "disable" => Some(false),
        _ => None,
    }
}

/// `LEVEL[/RATE-LIMITED-LEVEL]`: messages up to the second level are shown with a rate limit.
pub(super) fn level(text: &str) -> Option<LevelFilter> {
    Some(match text.rsplit('/').next()? {
        "none" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warning" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        "all" => LevelFilter::Trace,
        _ => return None,
    })
}

/// An unsigned number: decimal, hexadecimal after `0x`, octal after another `0`.
pub(super) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    // The standard library would accept a sign.
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// A size in bytes: a number with a suffix, kibibytes without one.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'B' => (&text[..text.len() - 1], 0),
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 10),
    };
    number(digits)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{number, size};

    #[test]
    fn numbers_have_three_bases_and_sizes_a_suffix() {
        assert_eq!([number("10"), number("0x10"), number("010"), number("0")], [Some(10), Some(16), Some(8), Some(0)]);
        for wrong in ["", "0x", "+1", "-1", "08", "1 ", "0x+1", "0+1", "18446744073709551616"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
        assert_eq!([size("3"), size("3b"), size("3k")], [Some(3 << 10), Some(3), Some(3 << 10)]);
        assert_eq!([size("0x10M"), size("3g"), size("3T")], [Some(16 << 20), Some(3 << 30), Some(3 << 40)]);
        for wrong in ["", "M", "3X", "3MM", "16777216T", "é"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
