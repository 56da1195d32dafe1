//! Memory sizes in the usual notation: `256M`, `2G`, `131072K`.

use std::fmt;
use std::str::FromStr;

/// An amount of memory, in whole KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size {
    kib: u64,
}

impl Size {
    pub(crate) const fn mib(mib: u64) -> Self {
        Self { kib: mib * 1024 }
    }

    /// The size in MiB, rounded up.
    pub(crate) const fn in_mib(self) -> u64 {
        self.kib.div_ceil(1024)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a size: write for example 256M or 2G");
        let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
        let factor = match unit {
            "K" | "k" => 1,
            "M" | "m" => 1 << 10,
            "G" | "g" => 1 << 20,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let kib = number.checked_mul(factor).filter(|&kib| kib > 0 && kib <= 1 << 34).ok_or_else(wrong)?;
        Ok(Self { kib })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kib.is_multiple_of(1024) {
            write!(formatter, "{}M", self.kib / 1024)
        } else {
            write!(formatter, "{}K", self.kib)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!("256M".parse(), Ok(Size::mib(256)));
        assert_eq!("2g".parse(), Ok(Size::mib(2048)));
        assert_eq!("1025K".parse::<Size>().map(|size| size.to_string()), Ok("1025K".into()));
        for wrong in ["", "M", "256", "-1M", "0M", "1T", "99999999999999999999G", "18014398509481985K", "é"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
