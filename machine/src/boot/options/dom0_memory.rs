//! `dom0_mem=`: the memory of the initial domain.

use super::value::{number, size};

use crate::integers::low_u64;

/// An amount of memory: `[-]TERM[+TERM]`, where a term is a size or a percentage. With a minus sign
/// it is subtracted from the available memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Amount {
    bytes: u64,
    percent: u64,
    subtracted: bool,
}

impl Amount {
    /// This many bytes.
    pub const fn of(bytes: u64) -> Self {
        Self { bytes, percent: 0, subtracted: false }
    }

    /// All of the memory except this many bytes.
    pub const fn all_but(bytes: u64) -> Self {
        Self { bytes, percent: 0, subtracted: true }
    }

    fn parse(text: &str) -> Option<Self> {
        let (subtracted, sum) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let mut amount = Self { subtracted, ..Self::default() };
        for term in sum.split('+') {
            match term.strip_suffix('%') {
                Some(percent) => amount.percent = amount.percent.checked_add(number(percent)?)?,
                None => amount.bytes = amount.bytes.checked_add(size(term)?)?,
            }
        }
        (amount.percent < 100).then_some(amount)
    }

    /// The amount in bytes, if `available` bytes are available.
    pub fn bytes(self, available: u64) -> u64 {
        // Less than the whole, so it fits.
        let part = low_u64(u128::from(available) * u128::from(self.percent) / 100);
        let sum = self.bytes.saturating_add(part);
        if self.subtracted { available.saturating_sub(sum) } else { sum }
    }
}

/// `dom0_mem=[min:AMOUNT|max:AMOUNT|AMOUNT],...`. Several of these options are combined; a later
/// value replaces an earlier one of the same kind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dom0Memory {
    /// The initial memory.
    pub initial: Option<Amount>,
    /// The minimum, unless it exceeds `max`.
    pub min: Option<Amount>,
    /// The maximum.
    pub max: Option<Amount>,
}

impl Dom0Memory {
    /// Applies the value of one more option.
    pub(super) fn and(mut self, text: &str) -> Option<Self> {
        for part in text.split(',') {
            match part.split_once(':') {
                Some(("min", amount)) => self.min = Some(Amount::parse(amount)?),
                Some(("max", amount)) => self.max = Some(Amount::parse(amount)?),
                Some(_) => return None,
                // Zero means the default.
                None => self.initial = Some(Amount::parse(part)?).filter(|&amount| amount != Amount::default()),
            }
        }
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn an_amount_is_a_sum_of_sizes_and_percentages_or_the_remainder() {
        let of_256_gib = |text| Amount::parse(text).map(|amount| amount.bytes(256 * GIB));
        for (text, bytes) in [
            ("1048576", GIB),
            ("2G", 2 * GIB),
            ("25%", 64 * GIB),
            // The example in Xen's documentation.
            ("1G+25%", 65 * GIB),
            ("25%+1G", 65 * GIB),
            ("1G+512M", GIB + GIB / 2),
            ("-1G", 255 * GIB),
            ("-1G+25%", 191 * GIB),
            ("-300G", 0),
            ("0%", 0),
            ("0x10%", 256 * GIB * 16 / 100),
        ] {
            assert_eq!(of_256_gib(text), Some(bytes), "{text}");
        }
        for wrong in ["", "-", "%", "100%", "50%+50%", "1G+", "+1G", "--1G", "1G-1M", "1%%", "99999999T", "1G%"] {
            assert_eq!(of_256_gib(wrong), None, "{wrong}");
        }
        assert_eq!(Amount::parse("99%").unwrap().bytes(u64::MAX), (u128::from(u64::MAX) * 99 / 100) as u64);
        assert_eq!(Amount::parse("16777215T+99%").unwrap().bytes(u64::MAX), u64::MAX, "no overflow");
    }

    #[test]
    fn several_options_are_combined() {
        let memory = ["512M", "max:1G", "min:25%,512M", "max:2G"]
            .iter()
            .try_fold(Dom0Memory::default(), |so_far, text| so_far.and(text));
        let wanted = Dom0Memory {
            initial: Some(Amount::of(512 << 20)),
            min: Some(Amount { percent: 25, ..Amount::default() }),
            max: Some(Amount::of(2 * GIB)),
        };
        assert_eq!(memory, Some(wanted));
        assert_eq!(wanted.and("1G,max:x"), None, "a value is applied as a whole or not at all");
        assert_eq!(wanted.and("most:1G"), None);
    }
}
