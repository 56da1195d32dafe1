//! The option `ucode=`: where microcode is, and which is loaded.

use super::defences::{each, name_and_value};
use super::value::boolean;

/// Where microcode is, and which is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Microcode {
    /// Where it is.
    pub source: MicrocodeSource,
    /// Whether an update with the current revision is loaded again.
    pub same: bool,
}

/// Where microcode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MicrocodeSource {
    /// Nowhere: none is loaded during boot.
    None,
    /// In an early archive in any boot module.
    Scan,
    /// It is the boot module of this number, from the end if the number is negative.
    Module(i32),
}

impl MicrocodeSource {
    /// The number of the boot module, of this many, that is nothing but microcode. The first module
    /// never is.
    pub fn module(self, count: usize) -> Option<usize> {
        let Self::Module(number) = self else { return None };
        let distance = usize::try_from(number.unsigned_abs()).ok()?;
        let index = if number < 0 { count.checked_sub(distance)? } else { distance };
        (1..count).contains(&index).then_some(index)
    }
}

impl Microcode {
    /// The default: early archives are searched.
    pub(super) const DEFAULT: Self = Self { source: MicrocodeSource::Scan, same: false };

    /// Applies each part of a list. Returns why a part that is given has no effect.
    ///
    /// # Errors
    /// The first part that is not known.
    pub(super) fn apply<'a>(&mut self, list: &'a str) -> Result<Option<&'static str>, &'a str> {
        let mut without_effect = None;
        each(list, |part| {
            match name_and_value(part) {
                ("scan", value) if boolean(value)? => self.source = MicrocodeSource::Scan,
                ("scan", _) => self.source = MicrocodeSource::None,
                ("allow-same", value) => self.same = boolean(value)?,
                ("nmi", value) if boolean(value)? => without_effect = Some(NO_NMI),
                ("digest-check", value) if boolean(value)? => without_effect = Some(NO_DIGESTS),
                ("nmi" | "digest-check", _) => {}
                _ => self.source = MicrocodeSource::Module(index(part)?),
            }
            Some(())
        })?;
        Ok(without_effect)
    }
}

const NO_NMI: &str = "late loading stops all pCPUs with interrupts off, not by NMI";
const NO_DIGESTS: &str = "there is no list of the digests of genuine microcode";

/// Parses the number of a module, which is not zero.
fn index(word: &str) -> Option<i32> {
    let (digits, sign) = word.strip_prefix('-').map_or((word, 1), |digits| (digits, -1));
    let number = i32::try_from(super::value::number(digits)?).ok()?;
    (number != 0).then_some(number * sign)
}
